"""The default tolerance of the gate. A module of its own: every start of the command line needs it, without numpy."""

DEFAULT_TOLERANCE = 0.01  # by which the WER of other speech may rise, as a fraction: one percentage point
