"""What all HTTP servers of asr-edge share, the trainer's host too: connections, bodies, logs."""
