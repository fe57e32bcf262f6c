"""Commands that need torch; they join the command line by the entry points of `pyproject.toml`."""
