"""Common Voice by accent, US first as in the paper on sequential editing (arXiv 2406.17935).

It has no test split by accent, so speakers are held out for it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from device_app.data.corpora import find_utterances
from device_app.data.corpora.layouts import UNKNOWN_ACCENT
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.lifelong.corpora.source import Source

MIN_UTTERANCES = 10  # an accent with fewer utterances, or with one speaker, is not used
FIRST = ("united states english", "us")  # the accent on which the paper's base was trained, under either name
SHARE_HELD_OUT = 0.2  # of an accent's utterances, at most


def read(source: Source) -> dict[str, list[Utterance]]:
    """The utterances of each accent; by default US first, then by the number of utterances.

    Raises:
        BadInputError: the folder is not a release of Common Voice, or an accent has too few utterances.
    """
    by_accent = _by_accent(source)
    largest = sorted(by_accent, key=lambda name: -len(by_accent[name]))
    wanted = [accent.lower() for accent in source.accents]
    too_few = f"{source.folder}: has fewer than {MIN_UTTERANCES} utterances or 2 speakers of"
    if missing := [accent for accent in wanted if not _is_usable(by_accent.get(accent, ()))]:
        raise BadInputError(f"{too_few} {missing[0]!r}; it has {', '.join(largest[:8]) or 'none with an accent'}")
    if not wanted:
        usable = [name for name in largest if _is_usable(by_accent[name])]
        if not usable:
            raise BadInputError(f"{too_few} every accent; use a larger release")
        wanted = sorted(usable, key=lambda name: name not in FIRST)
    domains: dict[str, list[Utterance]] = {}
    for number, accent in enumerate(wanted, 1):
        name = _slug(accent) or f"accent-{number}"
        domains[f"{name}-{number}" if name in domains else name] = _with_held_out_speakers(by_accent[accent])
    return domains


def _is_usable(utterances: Sequence[Utterance]) -> bool:
    """Whether an accent can be split into training and test speakers."""
    return len(utterances) >= MIN_UTTERANCES and len({one.speaker or "" for one in utterances}) > 1


def _by_accent(source: Source) -> Mapping[str, list[Utterance]]:
    kind, utterances = find_utterances(source.folder)
    if not kind.startswith("Common Voice"):
        raise BadInputError(f"{source.folder}: is not a release of Common Voice but a {kind}")
    by_accent: dict[str, list[Utterance]] = defaultdict(list)
    for one in utterances:
        if one.text and one.domain and one.domain != UNKNOWN_ACCENT:
            by_accent[one.domain.lower()].append(one)
    return by_accent


def _with_held_out_speakers(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Holds out speakers, those with the fewest utterances first, so that the test split has many voices."""
    counts = Counter(one.speaker or "" for one in utterances)
    held_out: set[str] = set()
    total = 0
    for speaker, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if total + count > SHARE_HELD_OUT * len(utterances) and held_out:
            break
        if len(held_out) + 1 < len(counts):
            held_out.add(speaker)
            total += count
    return [
        replace(one, split="test" if (one.speaker or "") in held_out else "train")
        for one in sorted(utterances, key=lambda one: str(one.audio))
    ]


def _slug(accent: str) -> str:
    """The name of an accent's domain and folder: letters of any script, digits and hyphens; may be empty."""
    return re.sub(r"[\W_]+", "-", accent.lower()).strip("-")
