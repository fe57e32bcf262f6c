"""LibriSpeech as two domains, "clean" and "other", with its own train and test splits."""

from __future__ import annotations

import re
from dataclasses import replace

from device_app.data.corpora import find_utterances
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.lifelong.corpora.source import Source


def read(source: Source) -> dict[str, list[Utterance]]:
    """The utterances of "clean" and "other", of those subsets that the folder has.

    Raises:
        BadInputError: the folder is not a LibriSpeech tree, or has none of these subsets.
    """
    folder = source.folder
    kind, utterances = find_utterances(folder)
    if not kind.startswith("LibriSpeech"):
        raise BadInputError(f"{folder}: is not a LibriSpeech tree but a {kind}")
    domains: dict[str, list[Utterance]] = {"clean": [], "other": []}
    for one in utterances:
        found = re.search(r"(train|test)-(clean|other)", str(one.file.relative_to(folder)))
        if found and one.text:
            domains[found[2]].append(replace(one, text=one.text.lower(), split=found[1]))
    known = {name: utterances for name, utterances in domains.items() if utterances}
    if not known:
        raise BadInputError(f"{folder}: has none of train-clean-*, train-other-*, test-clean, test-other")
    return known
