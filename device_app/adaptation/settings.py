"""How a domain is to be learnt, or task vectors merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from editing.errors import BadInputError
from editing.registry import METHODS

Orthography = Literal["keep", "learn"]


@dataclass(frozen=True)
class Plan:
    """How to adapt.

    Attributes:
        domain: what to learn.
        method, settings: how the task vector is merged.
        sweep: choose lambda and density by what is heard, instead of by `settings`.
        tolerance: how much the WER of what is not learnt may rise, a fraction.
        orthography: "keep" teaches the model's own case and punctuation, "learn" the labels'.
        replay: how many older utterances of other domains are learnt again.
        force: promote whatever the gate says.
        dry_run: promote and record nothing.
        seed: of the choice of utterances to replay.
        gains: whether the domain must be heard better for the gate to open.
    """

    domain: str
    method: str = "ties"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweep: bool = False
    tolerance: float = 0.01
    orthography: Orthography = "keep"
    replay: int = 0
    force: bool = False
    dry_run: bool = False
    seed: int = 0
    gains: bool = True


def settings_of(plan: Plan) -> dict[str, Any]:
    """All settings of the plan's method.

    Raises:
        BadInputError: there is no such method, or it has no such setting.
    """
    if plan.method not in METHODS:
        raise BadInputError(f"there is no merge method {plan.method!r}; there are {', '.join(METHODS)}")
    try:
        METHODS[plan.method].check(plan.settings)
    except ValueError as error:
        raise BadInputError(f"{error}; nothing was changed") from error
    return {**METHODS[plan.method].settings, **plan.settings}
