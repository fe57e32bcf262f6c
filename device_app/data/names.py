"""Which names domains and speakers may have, and which texts utterances."""

from __future__ import annotations

from editing.errors import BadInputError
from editing.former_names import DOMAINS

GUARD_SET = "general speech"  # the domain of the guard set, in every file and table that lists domains
RESERVED = {GUARD_SET, *DOMAINS}
LONGEST_TEXT = 1000  # characters; a minute of fast speech has fewer


def checked_name(name: str, kind: str) -> str:
    """A domain's or speaker's name: 1 to 100 printable characters, no slash, no spaces at its ends.

    Raises:
        BadInputError: it is not one.
    """
    if not 1 <= len(name) <= 100 or name != name.strip() or not name.isprintable() or "/" in name or "\\" in name:
        raise BadInputError(
            f"{name[:100]!r} cannot be the name of a {kind}: up to 100 printable characters without / or \\"
        )
    if kind == "domain" and name.casefold() in RESERVED:
        raise BadInputError(f"{name!r} is the name of the general speech that edits are checked on; choose another")
    return name


def checked_text(text: str) -> str:
    """A label: its white space evened out, and no character that hides or reorders others.

    Raises:
        BadInputError: it is empty, too long, or has control characters or bidirectional marks.
    """
    text = " ".join(text.split())
    if not text:
        raise BadInputError("the text is empty; delete the utterance if nothing is said in it")
    if len(text) > LONGEST_TEXT:
        raise BadInputError(f"a text of {len(text)} characters; {LONGEST_TEXT} is the most for one utterance")
    hidden = [c for c in text if not c.isprintable()]
    if hidden:
        raise BadInputError(f"the text has the character {hidden[0]!a}, which cannot be seen; take it out")
    return text
