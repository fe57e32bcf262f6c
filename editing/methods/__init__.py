"""Merge methods, one file each; a file that is here is found by `editing.registry.METHODS`."""
