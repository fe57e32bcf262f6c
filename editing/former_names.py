"""Translates names in files of earlier versions to their current names.

Every reader of a stored file passes the parsed value through `translated`. No other module knows the former names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from editing.json_text import JSONTextError

# The name of the guard set, whose results are stored beside those of the domains.
DOMAINS: Final = {"canary": "general speech"}

# Scores of task vectors, reports of fleet merges and the statements that a host signs.
SCORES: Final = {
    **DOMAINS,
    "canary_before": "general_speech_before",
    "canary_after": "general_speech_after",
}

# Settings of a fine-tuning: in checkpoints, job requests and configurations of the lifelong benchmark.
FINE_TUNING: Final = {"vary": "augment", "enough": "target_loss", "easy_epochs": "curriculum_epochs"}
SCOPES: Final = {"hearing": "acoustic"}  # values of the key "scope": the parameters that are trained

CHECKPOINT: Final = {**FINE_TUNING, "heard": "validation_losses"}
UTTERANCE: Final = {"heard": "hypothesis"}  # records of the store's quarantine
CELL: Final = {"heard": "errors", "hearing_s": "recognition_s"}  # a step of a lifelong run or sweep
STATEMENT: Final = {**SCORES, **FINE_TUNING}  # what a host signs


def translated(value: Any, names: Mapping[str, str]) -> Any:
    """Replaces former keys in a parsed JSON value, and former values of the key "scope".

    Args:
        value: as `json.loads` returns it; it is not changed.
        names: former key -> current key; one of the tables above.

    Returns:
        A copy, translated at every depth. Keys that are not in the table are unchanged.

    Raises:
        JSONTextError: the value is nested too deep, which the JSON parser does not notice as early.
    """
    try:
        return _translated(value, names)
    except RecursionError:
        raise JSONTextError("nested too deep") from None


def translated_reason(why: str) -> str:
    """Replaces the former command name in the reason of a version."""
    return f"reweight {why.removeprefix('remix ')}" if why.startswith("remix ") else why


def _translated(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {names.get(key, key): _value(key, one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_translated(one, names) for one in value]
    return value


def _value(key: Any, value: Any, names: Mapping[str, str]) -> Any:
    if key == "scope" and isinstance(value, str):
        return SCOPES.get(value, value)
    return _translated(value, names)
