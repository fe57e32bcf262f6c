"""The optional parts of asr-edge (extras), which docs/install.md lists: their packages, and how to install them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from editing.errors import MissingDependencyError

# By extra: the packages that its commands cannot do without, by the names under which they are imported.
PACKAGES: Mapping[str, Sequence[str]] = {
    "train": ("torch", "transformers"),
    "host": ("fastapi", "uvicorn", "limits", "prometheus_client"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "websockets", "wyoming", "zeroconf", "prometheus_client"),
    "media": ("av",),
}


def need_packages(extra: str, what: str = "this command", hint: str = "") -> None:
    """Checks that the packages of an extra are installed; imports none of them.

    Args:
        extra: a key of `PACKAGES`.
        what: what needs them, the subject of the message.
        hint: a sentence about what works without them.

    Raises:
        MissingDependencyError: a package is missing; the message names all that are, and the extra to install.
    """
    if missing := missing_packages(extra):
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        verb = "is" if len(missing) == 1 else "are"
        text = f"{what} needs {names}, which {verb} not installed: {how_to_install(extra)}"
        raise MissingDependencyError(f"{text}. {hint}" if hint else text)


def missing_packages(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [name for name in PACKAGES[extra] if not _is_installed(name)]


def how_to_install(extra: str) -> str:
    """The command that installs an extra. It names the clone, because no package index has asr-edge."""
    return f"pip install '.[{extra}]' in your clone of asr-edge"


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # an import hook forbids it, or a module of this name is loaded that has no spec
        return False
