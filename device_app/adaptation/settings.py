"""Settings of an adaptation: merge method, gate policy and training set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from device_app.adaptation.tolerance import DEFAULT_TOLERANCE
from editing.errors import BadInputError
from editing.layers import check_parts
from editing.methods import METHODS

Orthography = Literal["keep", "learn"]


@dataclass(frozen=True)
class MergeSettings:
    """How task vectors are merged.

    Attributes:
        method: a key of `editing.METHODS`.
        settings: keyword arguments of the method; the others keep their defaults.
    """

    method: str = "ties"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_defaults(self, vectors: int = 2, parameters: Iterable[str] | None = None) -> dict[str, Any]:
        """All settings of the method, including the defaults. Arguments and errors are those of `check`."""
        self.check(vectors, parameters)
        return {**METHODS[self.method].settings, **self.settings}

    def check(self, vectors: int = 2, parameters: Iterable[str] | None = None) -> None:
        """Checks the settings, so that a mistake in them is reported before any work is done.

        Args:
            vectors: number of vectors to merge; 2, which every method takes, if the number is not known yet.
            parameters: names of the model's parameters, if they are known; a lambda that differs by layer must
                match them.

        Raises:
            BadInputError: there is no such method, it has no such setting, a value is out of range, the
                model has no such layer, or the method cannot merge this number of vectors.
        """
        if self.method not in METHODS:
            raise BadInputError(f"there is no merge method {self.method!r}; there are {', '.join(METHODS)}")
        try:
            METHODS[self.method].check(self.settings, vectors)
            if parameters is not None:
                check_parts("lambda", self.settings.get("lam", 1.0), parameters)
        except BadInputError as error:
            raise BadInputError(f"{error}; nothing was changed") from error


@dataclass(frozen=True)
class GatePolicy:
    """What the gate requires of a version, and how its verdict is used.

    Attributes:
        tolerance: by how much the WER of any other domain and of the guard set may rise, a fraction (0.01 is a
            percentage point).
        force: promote whatever the verdict is.
        dry_run: only report the verdict: promote nothing, and write nothing to the ledger.
        requires_gain: whether the WER of the domain must fall.
        may_get_worse: domains whose WER may rise, because less of their edit was asked for.
    """

    tolerance: float = DEFAULT_TOLERANCE
    force: bool = False
    dry_run: bool = False
    requires_gain: bool = True
    may_get_worse: Collection[str] = ()


@dataclass(frozen=True)
class AdaptationSettings:
    """How a model is adapted to a domain.

    Attributes:
        domain: the domain to fine-tune on.
        merge: how the task vector is merged.
        gate: what the gate requires.
        sweep: choose lambda and density by WER (`adaptation.sweep`) instead of taking them from `merge`.
        orthography: "keep" trains on the case and punctuation of the model, "learn" on those of the labels.
        replay: number of utterances of earlier domains to add to the training set.
        seed: the seed of the choice of utterances to replay, and of the permutations of the label check.
    """

    domain: str
    merge: MergeSettings = MergeSettings()
    gate: GatePolicy = GatePolicy()
    sweep: bool = False
    orthography: Orthography = "keep"
    replay: int = 0
    seed: int = 0
