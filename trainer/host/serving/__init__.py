"""The host under load: connections, request bodies, the disk and logs."""
