"""Common Voice by accent, US first as in the paper.

It has no test split by accent, so speakers are held out for it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from device_app.data.corpora import UNKNOWN_ACCENT, find_utterances
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.lifelong.corpora.source import Source

MIN_UTTERANCES = 10  # an accent with fewer utterances is not used
FIRST = ("united states english", "us")  # what the paper's base was trained on
SHARE_HELD_OUT = 0.2  # of an accent's utterances, at most


def read(source: Source) -> dict[str, list[Utterance]]:
    """The utterances of each accent; by default US first, then by the number of utterances.

    Raises:
        BadInputError: the folder is not a release of Common Voice, or an accent has too few utterances.
    """
    by_accent = _by_accent(source)
    largest = sorted(by_accent, key=lambda name: -len(by_accent[name]))
    wanted = [accent.lower() for accent in source.accents]
    if missing := [accent for accent in wanted if len(by_accent.get(accent, ())) < MIN_UTTERANCES]:
        most = ", ".join(largest[:8])
        raise BadInputError(
            f"{source.folder}: has fewer than {MIN_UTTERANCES} utterances of {missing[0]!r}; it has {most}"
        )
    if not wanted:
        large_enough = [name for name in largest if len(by_accent[name]) >= MIN_UTTERANCES]
        wanted = sorted(large_enough, key=lambda name: name not in FIRST)
    return {_slug(accent): _with_held_out_speakers(by_accent[accent]) for accent in wanted}


def _by_accent(source: Source) -> Mapping[str, list[Utterance]]:
    kind, utterances = find_utterances(source.folder)
    if not kind.startswith("Common Voice"):
        raise BadInputError(f"{source.folder}: is not a release of Common Voice but a {kind}")
    by_accent: dict[str, list[Utterance]] = defaultdict(list)
    for one in utterances:
        if one.text and one.domain and one.domain != UNKNOWN_ACCENT:
            by_accent[one.domain.lower()].append(one)
    return by_accent


def _with_held_out_speakers(lines: Sequence[Utterance]) -> list[Utterance]:
    """Holds out speakers, those with the fewest utterances first, so that the test split has many voices."""
    counts = Counter(one.speaker or "" for one in lines)
    held_out: set[str] = set()
    total = 0
    for speaker, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if total + count > SHARE_HELD_OUT * len(lines) and held_out:
            break
        if len(held_out) + 1 < len(counts):
            held_out.add(speaker)
            total += count
    return [
        replace(one, split="test" if (one.speaker or "") in held_out else "train")
        for one in sorted(lines, key=lambda one: str(one.audio))
    ]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
