"""The host under load: request bodies, the disk and error responses."""
