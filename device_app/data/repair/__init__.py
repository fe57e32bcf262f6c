"""Finds and repairs faults of the data folder: recordings without rows, rows without recordings, a damaged database."""
