"""Whole recordings: several at once, and continued after an interruption."""
