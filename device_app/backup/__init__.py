"""Backups of the data folder in one file, and their restoration."""
