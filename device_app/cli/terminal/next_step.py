"""Prints the next step at the end of a command."""

from __future__ import annotations

from device_app.cli import options


def tell_progress(domain: str, labelled: int) -> None:
    """Prints how many labelled recordings an adaptation still needs, and the next command.

    Args:
        domain: the domain.
        labelled: number of its recordings with a text.
    """
    from device_app.status import MIN_LABELLED, domain_option, missing

    command = "adapt" if labelled >= MIN_LABELLED else "record"
    options.tell(f"{missing(labelled)}. Next: asr-edge {command}{domain_option(domain)}")
