"""The version of asr-edge itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The version; "not installed" if asr-edge runs from a checkout that is not installed."""
    try:
        return version("asr-edge")
    except PackageNotFoundError:
        return "not installed"
