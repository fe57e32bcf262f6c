"""The report of what each edit changed: WER, forgetting and transfer, as a table or as one HTML file."""
