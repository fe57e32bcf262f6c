"""The lifelong benchmark: one base, domains in an order, and every method side by side."""
