"""What the model card of a published model says: its languages and its licence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import BadInputError, first_line
from export.bundle import DEFAULT_LANGUAGE

CARD = "README.md"
MAX_BYTES = 1 << 20  # of a card
MAX_VALUE_CHARACTERS = 200  # of a value that is shown; the rest is cut off

# Licences that allow every use, with their SPDX identifiers. The hub has its own, in lower case.
SPDX_OF_FREE = {"mit": "MIT", "apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc0-1.0": "CC0-1.0"}


@dataclass(frozen=True)
class ModelCard:
    """The part of a model card that a user decides by.

    Attributes:
        languages: codes of ISO 639; empty if the card has none.
        licence: the hub's identifier, or the licence's own name if the hub has none for it; empty if unknown.
        link: where the text of the licence is; empty if the card does not say.
    """

    languages: tuple[str, ...] = ()
    licence: str = ""
    link: str = ""

    @property
    def is_free(self) -> bool:
        """Whether the licence is known to allow every use."""
        return self.licence in SPDX_OF_FREE

    @property
    def spdx(self) -> str:
        """The SPDX identifier of the licence; LicenseRef-... for those that SPDX does not list."""
        plain = re.sub(r"[^A-Za-z0-9.-]+", "-", self.licence).strip("-")
        return SPDX_OF_FREE.get(self.licence) or f"LicenseRef-{plain or 'unknown'}"

    def language(self, chosen: str | None = None) -> str:
        """The language of the model's text: by default that of the card, English without a card.

        Args:
            chosen: by the user; needed where the card lists several.

        Raises:
            BadInputError: the card lists several languages, and none or another one is chosen.
        """
        if chosen is not None and (not self.languages or chosen in self.languages):
            return chosen
        if chosen is None and len(self.languages) < 2:
            return self.languages[0] if self.languages else DEFAULT_LANGUAGE
        listed = ", ".join(self.languages)
        shown = "has several languages" if chosen is None else f"does not list the language {chosen!r}"
        raise BadInputError(f"the model card {shown}; choose one of {listed} with --language")


def read_card(folder: Path) -> ModelCard:
    """Reads the model card of a downloaded model; an empty one if it has none.

    Raises:
        BadInputError: the card cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return ModelCard()
    from huggingface_hub import metadata_load  # parses YAML without constructing objects

    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        found = metadata_load(path) or {}
    except Exception as error:  # YAML's own exceptions have no common public base
        reason = first_line(error)
        raise BadInputError(f"{path}: the model card cannot be read ({reason})") from error
    licence = _text(found.get("license"))
    if licence in ("", "other"):
        licence = _text(found.get("license_name")) or licence
    languages = found.get("language") or []
    listed = languages if isinstance(languages, list) else [languages]
    return ModelCard(tuple(filter(None, map(_text, listed))), licence, _text(found.get("license_link")))


def licence_text(folder: Path, card: ModelCard) -> str:
    """The licence file of a downloaded model; without one, where to find the licence."""
    for path in sorted(folder.glob("LICENSE*")):
        return path.read_text("utf-8", errors="replace")
    return f"{card.licence or 'Unknown: that of the place where the model is from'} {card.link}".strip() + "\n"


def _text(value: Any) -> str:
    """A value of the card as one short line; YAML reads the code of Norwegian, no, as false."""
    if value is False:
        return "no"
    return " ".join(value.split())[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else ""
