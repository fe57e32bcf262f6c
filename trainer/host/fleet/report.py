"""The result of a merge: what became of each contribution, and the WER before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class AssessedContribution:
    """A contribution and its measurements.

    Attributes:
        device: the name of the contributing device.
        vector: the hash of its file.
        norm: the vector's norm before clipping.
        cosine: median cosine similarity to the other vectors; 0 if the vector was left out before.
        without: by how many points the WER of the merge changes if the vector is left out; of guard set and group's
            speech, the sum. None if not measured.
        group_speech: WER of the group's held-out speech with this vector alone, a fraction; None if there is no speech.
        copy_of: the device whose vector is nearly the same; the two count once.
        left_out: why the vector is left out of the merge; empty if it is merged.
    """

    device: str
    vector: str
    norm: float = 0.0
    cosine: float = 0.0
    without: float | None = None
    group_speech: float | None = None
    copy_of: str = ""
    left_out: str = ""


@dataclass(frozen=True)
class Report:
    """The result of a merge, as stored and as printed by `--json`. WERs are fractions.

    Attributes:
        group: the group whose vectors are merged.
        base: SHA-256 of the base weights.
        method, settings: those of the merge.
        judged: all contributions.
        general_speech_before, general_speech_after: WER of the guard set with the base, and with the merged vector;
            None if nothing was merged, or there is no guard set for the language of the base.
        group_speech_before, group_speech_after: likewise of the group's held-out speech; None if there is none.
        vector: the hash of the merged vector; empty if none is offered.
        reasons: why no vector is offered.
    """

    group: str
    base: str
    method: str
    settings: Mapping[str, Any]
    judged: Sequence[AssessedContribution]
    general_speech_before: float | None = None
    general_speech_after: float | None = None
    group_speech_before: float | None = None
    group_speech_after: float | None = None
    vector: str = ""
    reasons: Sequence[str] = field(default_factory=list)
