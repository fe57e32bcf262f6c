"""Keyterms: decoding prefers words and phrases that the user has listed."""
