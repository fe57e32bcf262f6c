"""Settings of an adaptation: how task vectors are merged, what the gate requires, and what is fine-tuned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from editing.errors import BadInputError
from editing.registry import METHODS

Orthography = Literal["keep", "learn"]


@dataclass(frozen=True)
class MergeSettings:
    """How task vectors are merged.

    Attributes:
        method: a key of `editing.registry.METHODS`.
        settings: keywords of the method; the method's defaults hold for the others.
    """

    method: str = "ties"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_defaults(self, vectors: int = 2) -> dict[str, Any]:
        """All settings of the method, the defaults included.

        Args:
            vectors: how many will be merged.

        Raises:
            BadInputError: there is no such method, it has no such setting, a value is out of its range, or the
                method does not merge so many vectors.
        """
        if self.method not in METHODS:
            raise BadInputError(f"there is no merge method {self.method!r}; there are {', '.join(METHODS)}")
        try:
            METHODS[self.method].check(self.settings, vectors)
        except ValueError as error:
            raise BadInputError(f"{error}; nothing was changed") from error
        return {**METHODS[self.method].settings, **self.settings}


@dataclass(frozen=True)
class GatePolicy:
    """What the gate requires of a version, and what follows from its verdict.

    Attributes:
        tolerance: by how much the WER of any other domain and of the guard set may rise, a fraction.
        force: promote whatever the verdict.
        dry_run: promote and record nothing.
        requires_gain: whether the WER of the domain must fall.
    """

    tolerance: float = 0.01
    force: bool = False
    dry_run: bool = False
    requires_gain: bool = True


@dataclass(frozen=True)
class AdaptationSettings:
    """How a model is adapted to a domain.

    Attributes:
        domain: whose labelled utterances the model is fine-tuned on.
        merge: how the task vector is merged.
        gate: what the gate requires.
        sweep: choose lambda and density by WER, instead of by `merge`.
        orthography: "keep" trains on the model's own case and punctuation, "learn" on the labels'.
        replay: how many older utterances of other domains are added to the training set.
        seed: of the choice of utterances to replay.
    """

    domain: str
    merge: MergeSettings = MergeSettings()
    gate: GatePolicy = GatePolicy()
    sweep: bool = False
    orthography: Orthography = "keep"
    replay: int = 0
    seed: int = 0
