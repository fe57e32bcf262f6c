"""Valid names of domains, speakers and profiles, and valid transcripts of utterances."""

from __future__ import annotations

import re
import unicodedata

from editing.errors import BadInputError, one_line
from editing.former_names import DOMAINS

DEFAULT_DOMAIN = "my-speech"  # of recordings and adaptations for which no domain is named
GUARD_SET = "general speech"  # the domain of the guard set, in every file and table that lists domains
EXAMPLES = {"profile": "anna", "domain": "me", "speaker": "Anna"}  # of a name, for the message that it is empty
MAX_NAME_LENGTH = 100  # characters
MAX_TEXT_LENGTH = 1000  # characters; a minute of fast speech has fewer
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of the spelling in Persian and in Indic scripts


def checked_name(name: str, kind: str) -> str:
    """Checks the name of a domain, speaker or profile: 1 to 100 printable characters, no slash, no spaces at its ends.

    Args:
        name: the name.
        kind: "domain", "speaker" or "profile".

    Returns:
        The same name.

    Raises:
        BadInputError: it is not valid, or a domain's name looks like that of the guard set.
    """
    if not name.strip():
        raise BadInputError(f"the name of a {kind} is empty; give it one, such as {EXAMPLES[kind]!r}")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable() or "/" in name or "\\" in name:
        raise BadInputError(
            f"{name[:MAX_NAME_LENGTH]!r} cannot be the name of a {kind}: up to {MAX_NAME_LENGTH} printable characters "
            "without / or \\"
        )
    if name != name.strip():
        raise BadInputError(f"the name of the {kind} {name!r} begins or ends with a space; write {name.strip()!r}")
    if kind == "domain":
        _check_reserved(name)
    return name


def _check_reserved(name: str) -> None:
    if name.casefold() in DOMAINS:
        raise BadInputError(
            f"{name!r} is reserved: earlier versions called the recordings of general speech so; choose another name"
        )
    if looks_like(name, GUARD_SET):
        exact = "is" if name == GUARD_SET else f"looks like {GUARD_SET!r}, which is"
        raise BadInputError(
            f"{name!r} {exact} the name of the recordings that every edit is checked on; choose another"
        )


def is_reserved(name: str) -> bool:
    """Whether a domain cannot have this name, because it is that of the guard set or looks like it."""
    return name.casefold() in DOMAINS or looks_like(name, GUARD_SET)


def refuse_guard_set(domain: str) -> None:
    """Refuses to take recordings out of the guard set: edits would no longer be checked on them, and nothing say so.

    Raises:
        BadInputError: this domain is the guard set.
    """
    if domain == GUARD_SET:
        raise BadInputError(
            f"every edit is checked on the recordings of {domain!r}; nothing was changed. 'asr-edge guard remove' "
            "deletes some of them; then 'asr-edge import' can add them to a domain"
        )


def looks_like(name: str, other: str) -> bool:
    """Whether two names can be mistaken for each other.

    Case, accents, spaces, punctuation and invisible characters make no difference. Nor do letters of another script in
    the place of Latin ones, if at least two letters are the same: a name all in another script is no imitation.
    """
    ours, theirs = _skeleton(name), _skeleton(other)
    if len(ours) != len(theirs):
        return False
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    other_script = sum(a != b and not a.isascii() for a, b in zip(ours, theirs, strict=True))
    return same >= 2 and same + other_script == len(ours)


def _skeleton(name: str) -> str:
    """The letters and digits of a name, in lower case and without accents; 1, | and capital I count as l."""
    folded = unicodedata.normalize("NFKD", name).replace("I", "l").replace("1", "l").replace("|", "l").casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if c.isalnum())


def cleaned_name(name: str) -> str:
    """Turns a name in a corpus into one that `checked_name` accepts, or into "" if nothing is left.

    Slashes become hyphens; characters that are not printable become spaces.

    >>> cleaned_name("American/British mix")
    'American-British mix'
    """
    name = re.sub(r"\s*[/\\]+\s*", "-", name)
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:MAX_NAME_LENGTH].strip()


def one_spaced(text: str) -> str:
    """Replaces each run of white space by one space.

    Joiners stay inside words, where they are part of the spelling, and are removed elsewhere.
    """
    return " ".join(filter(None, (word.strip(JOINERS) for word in text.split())))


def is_permitted(character: str) -> bool:
    """Whether a character may be in a text: it can be seen or is a joiner."""
    return character.isprintable() or character in JOINERS


def checked_text(text: str) -> str:
    """Checks a transcript; spaces and joiners become those of `one_spaced`.

    Raises:
        BadInputError: it is empty, too long, or has control characters or bidirectional marks.
    """
    text = one_spaced(text)
    if not text:
        raise BadInputError("the text is empty; delete the utterance if nothing is said in it")
    if len(text) > MAX_TEXT_LENGTH:
        raise BadInputError(f"a text of {len(text)} characters; an utterance has at most {MAX_TEXT_LENGTH}")
    invisible = [c for c in text if not is_permitted(c)]
    if invisible:
        raise BadInputError(f"the text has the character {invisible[0]!a}, which cannot be seen; take it out")
    return text


def checked_label(text: str, *, may_be_empty: bool = False) -> str:
    """Checks the text of an utterance as `checked_text` does; it must also have a letter or digit.

    Args:
        text: what somebody wrote.
        may_be_empty: whether the message proposes to leave the text empty, too.

    Raises:
        BadInputError: it has none, such as "..." where nobody wrote the text, or is not valid.
    """
    text = checked_text(text)
    if not any(character.isalnum() for character in text):
        choice = ", or leave the text empty" if may_be_empty else ""
        raise BadInputError(f"the text {one_line(text)!r} has no word; write what is said{choice}")
    return text
