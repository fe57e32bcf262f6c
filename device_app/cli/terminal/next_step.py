"""Tells the user, at the end of a command, what to do next."""

from __future__ import annotations

from device_app.cli import options


def tell_progress(domain: str, labelled: int) -> None:
    """Says how far the labelled recordings of a domain are from an adaptation, and names the command.

    Args:
        domain: the domain.
        labelled: number of its recordings with a text.
    """
    from device_app.status import MIN_LABELLED, missing, of

    command = "adapt" if labelled >= MIN_LABELLED else "record"
    options.tell(f"{missing(labelled)}. Next: asr-edge {command}{of(domain)}")
