"""Valid names of domains and speakers, and valid transcripts of utterances."""

from __future__ import annotations

import re

from editing.errors import BadInputError
from editing.former_names import DOMAINS

GUARD_SET = "general speech"  # the domain of the guard set, in every file and table that lists domains
RESERVED = {GUARD_SET, *DOMAINS}
LONGEST_NAME = 100  # characters
LONGEST_TEXT = 1000  # characters; a minute of fast speech has fewer
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of the spelling in Persian and in Indic scripts


def checked_name(name: str, kind: str) -> str:
    """Checks the name of a domain or speaker: 1 to 100 printable characters, no slash, no spaces at its ends.

    Raises:
        BadInputError: it is not valid.
    """
    if (
        not 1 <= len(name) <= LONGEST_NAME
        or name != name.strip()
        or not name.isprintable()
        or "/" in name
        or "\\" in name
    ):
        raise BadInputError(
            f"{name[:100]!r} cannot be the name of a {kind}: up to {LONGEST_NAME} printable characters without / or \\"
        )
    if kind == "domain" and name.casefold() in RESERVED:
        raise BadInputError(f"{name!r} is the name of the general speech that edits are checked on; choose another")
    return name


def cleaned_name(name: str) -> str:
    """Turns a name in a corpus into one that `checked_name` accepts, or into "" if nothing is left.

    Slashes become hyphens; characters that are not printable become spaces.

    >>> cleaned_name("American/British mix")
    'American-British mix'
    """
    name = re.sub(r"\s*[/\\]+\s*", "-", name)
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:LONGEST_NAME].strip()


def checked_text(text: str) -> str:
    """Checks a transcript; replaces each run of white space by one space.

    Joiners stay inside words, where they are part of the spelling, and are removed elsewhere.

    Raises:
        BadInputError: it is empty, too long, or has control characters or bidirectional marks.
    """
    text = " ".join(filter(None, (word.strip(JOINERS) for word in text.split())))
    if not text:
        raise BadInputError("the text is empty; delete the utterance if nothing is said in it")
    if len(text) > LONGEST_TEXT:
        raise BadInputError(f"a text of {len(text)} characters; {LONGEST_TEXT} is the most for one utterance")
    invisible = [c for c in text if not c.isprintable() and c not in JOINERS]
    if invisible:
        raise BadInputError(f"the text has the character {invisible[0]!a}, which cannot be seen; take it out")
    return text
