"""The lifelong benchmark: compares lifelong-learning methods on a sequence of domains."""
