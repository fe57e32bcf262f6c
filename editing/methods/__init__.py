"""Merge methods, one file each. `editing.registry.METHODS` finds every file in this folder."""
