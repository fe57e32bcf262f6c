"""Corpora for the benchmark: published ones, one module each, and synthetic accents."""
