"""What the reader of a corpus receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A corpus and how much of it an experiment takes.

    Attributes:
        folder: the corpus, unpacked.
        out: the experiment's folder, for audio that has to be cut.
        accents: of a corpus with accents, in the order in which they are learnt, the base's first;
            none for all.
        train, test: utterances of each domain, at most.
        on_done: called with the number of utterances that have been written.
    """

    folder: Path
    out: Path
    accents: tuple[str, ...] = ()
    train: int = 1000
    test: int = 200
    on_done: Callable[[int], None] = lambda _count: None
