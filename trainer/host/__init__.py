"""The host: fine-tunes for devices and returns signed task vectors."""
