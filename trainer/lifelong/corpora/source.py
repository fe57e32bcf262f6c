"""The input of corpus readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A corpus and the part of it that an experiment uses.

    Attributes:
        folder: the unpacked corpus.
        out: the experiment's folder, for audio that is cut out of longer recordings.
        accents: the accents to use, in the order of the sequence, the base's first; empty for all.
        train, test: the largest number of utterances of each domain in these splits.
        on_done: called with the number of utterances written.
    """

    folder: Path
    out: Path
    accents: tuple[str, ...] = ()
    train: int = 1000
    test: int = 200
    on_done: Callable[[int], None] = lambda _count: None
