"""Corpora as domains: published ones, one file each, and synthetic accents."""
