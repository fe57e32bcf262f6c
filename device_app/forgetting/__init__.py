"""Forgets recordings together with the edits that were trained on them."""
