"""Default ports of the service; the command line shows them without loading it."""

HTTP = 8765
WYOMING = 10300  # of Wyoming speech to text, by convention
