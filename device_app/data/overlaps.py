"""Parts of one recording that overlap: they go to the same split, so that no audio is trained on and tested on."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from device_app.data.store.splits import HOLD_OUT_EVERY, part_by_hash
from device_app.data.utterance import Split, Utterance

# In samples at 16 kHz: half a second, about a word. Segments of a long recording often share less where they meet,
# because their times are rounded or padded. If that counted, all of the recording would go to one split.
MIN_OVERLAP = 8_000


def with_parts(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Sets `part` of the utterances that overlap others in the same file.

    Parts that overlap directly, or by others between them, form a group. A group that has more of the utterances than
    are held out of them in all is for training; the part of another follows from its hash.

    Args:
        utterances: all utterances of a corpus.
    """
    result = list(utterances)
    real_path = cache(os.path.realpath)
    by_file: dict[str, list[int]] = defaultdict(list)
    cut = {real_path(one.file) for one in utterances if not one.is_whole}
    for index, one in enumerate(utterances if cut else ()):
        if (path := real_path(one.file)) in cut:
            by_file[path].append(index)
    for indices in by_file.values():
        for group in _groups(utterances, indices):
            first = utterances[group[0]]
            name = f"{first.file.name}\0{first.start}".encode("utf-8", "surrogateescape")
            part: Split = part_by_hash(hashlib.sha256(name).hexdigest())
            if len(group) > len(utterances) / HOLD_OUT_EVERY:
                part = "train"
            for index in group:
                result[index] = replace(utterances[index], part=part)
    return result


def _groups(utterances: Sequence[Utterance], indices: Sequence[int]) -> Iterator[list[int]]:
    """Groups of at least two of these utterances of one file that overlap, by the time at which they start."""
    group: list[int] = []
    group_end = 0.0
    for index in sorted(indices, key=lambda index: (utterances[index].start, index)):
        one = utterances[index]
        end = math.inf if one.end is None else one.end
        # A short part inside another one overlaps it, too.
        if group and min(end, group_end) - one.start >= min(MIN_OVERLAP, (end - one.start) / 2):
            group_end = max(group_end, end)
        else:
            if len(group) > 1:
                yield group
            group, group_end = [], end
        group.append(index)
    if len(group) > 1:
        yield group
