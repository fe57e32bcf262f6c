"""LibriSpeech by how clear its recordings are, with its own train and test parts."""

from __future__ import annotations

import re

from device_app.data.corpora import find_candidates
from editing.errors import BadInputError
from trainer.lifelong.corpora.source import Line, Source


def read(source: Source) -> dict[str, list[Line]]:
    """The utterances of "clean" and "other", as far as the folder has their parts.

    Raises:
        BadInputError: it is no LibriSpeech tree, or has no part that is used here.
    """
    folder = source.folder
    kind, candidates = find_candidates(folder)
    if not kind.startswith("LibriSpeech"):
        raise BadInputError(f"{folder}: no LibriSpeech tree, but a {kind}")
    domains: dict[str, list[Line]] = {"clean": [], "other": []}
    for one in candidates:
        found = re.search(r"(train|test)-(clean|other)", str(one.audio.relative_to(folder)))
        if found and one.text:
            domains[found[2]].append(Line(one.audio, one.text.lower(), one.speaker or "", found[1]))
    known = {name: lines for name, lines in domains.items() if lines}
    if not known:
        raise BadInputError(f"{folder}: has none of train-clean-*, train-other-*, test-clean, test-other")
    return known
