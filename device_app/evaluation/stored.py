"""Stored recordings as input of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from device_app.data.store import Store
from device_app.data.utterance import Utterance
from editing.errors import BadInputError


def labelled_utterances(domains: Sequence[str], split: str) -> dict[str, Sequence[Utterance]]:
    """The labelled stored utterances of each domain that are in a split; their number becomes their `id`.

    Args:
        domains: names of domains.
        split: "test" for those held out from training, or "train".

    Raises:
        BadInputError: there is no such domain, or it has no such recordings.
    """
    utterances: dict[str, Sequence[Utterance]] = {}
    with Store() as store:
        for domain in domains:
            found = [one for one in store.utterances(domain) if one.text is not None and one.split == split]
            if not found:
                raise BadInputError(
                    f"{domain} has no recordings with a text in the split {split!r}"
                    "; 'asr-edge dataset list' shows what there is"
                )
            utterances[domain] = [replace(one, id=str(one.number)) for one in found]
    return utterances
