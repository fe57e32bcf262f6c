"""The report of what each edit changed, as one HTML file."""
