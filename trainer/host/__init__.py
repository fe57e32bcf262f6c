"""The host: fine-tunes for devices, and gives back signed task vectors."""
