"""Text from anywhere, made safe to print: nothing in it moves the cursor, changes colours or reorders other text."""

from __future__ import annotations

import codecs
import json
import re

ENCODING_ERRORS = "asr-edge-escape"  # for streams whose encoding lacks a character: "é" becomes \u00e9

# Control characters (C0, DEL, C1), line and paragraph separators, what controls the direction of writing, and the
# surrogates by which Python stands for bytes that are not UTF-8. Joiners (Persian, emoji) are left as they are.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Replaces control and bidirectional characters by escapes, as JSON writes them.

    A JSON document stays valid, and equal to what it was, if the line breaks between its values are kept.

    Args:
        text: whatever it is: a file's name, a domain, a device, an error.
        keep: characters that stay: the line breaks of a text of several lines, for instance.

    >>> printable("a\x1b[31m\rb")
    'a\\u001b[31m\\rb'
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


codecs.register_error(ENCODING_ERRORS, _escape_unencodable)
