"""Merges the task vectors of a group's devices: robust rules, held-out speech of the group, and the report."""
