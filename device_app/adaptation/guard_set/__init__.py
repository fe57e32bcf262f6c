"""The guard set: bundled general speech on which the gate detects regressions outside the domain of an edit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from device_app.data.manifest import read_manifest
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.paths import ASSETS
from export.bundle import DEFAULT_LANGUAGE

FOLDER = ASSETS / "guard_set"


@cache
def guard_set(language: str = DEFAULT_LANGUAGE) -> tuple[Utterance, ...]:
    """The bundled utterances of a language, always the same; empty for all languages but English.

    The English ones are 72 of 50 readers. Their transcripts have case and punctuation.

    Raises:
        BadAudioError, BadInputError: the installation is damaged.
    """
    if language != DEFAULT_LANGUAGE:
        return ()
    return tuple(replace(one.in_memory(), domain=GUARD_SET, split="test") for one in read_manifest(FOLDER))
