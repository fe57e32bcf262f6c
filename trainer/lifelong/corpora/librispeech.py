"""LibriSpeech by how clear its recordings are, with its own train and test parts."""

from __future__ import annotations

import re
from dataclasses import replace

from device_app.data.corpora import find_utterances
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.lifelong.corpora.source import Source


def read(source: Source) -> dict[str, list[Utterance]]:
    """The utterances of "clean" and "other", as far as the folder has their parts.

    Raises:
        BadInputError: it is no LibriSpeech tree, or has no part that is used here.
    """
    folder = source.folder
    kind, utterances = find_utterances(folder)
    if not kind.startswith("LibriSpeech"):
        raise BadInputError(f"{folder}: no LibriSpeech tree, but a {kind}")
    domains: dict[str, list[Utterance]] = {"clean": [], "other": []}
    for one in utterances:
        found = re.search(r"(train|test)-(clean|other)", str(one.file.relative_to(folder)))
        if found and one.text:
            domains[found[2]].append(replace(one, text=one.text.lower(), split=found[1]))
    known = {name: lines for name, lines in domains.items() if lines}
    if not known:
        raise BadInputError(f"{folder}: has none of train-clean-*, train-other-*, test-clean, test-other")
    return known
