"""Dictation: what is said is typed into the window that has the keyboard focus."""
