"""What a device may ask for: every field is checked, and there is none for code, commands or paths."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from editing.registry import METHODS

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
# A JSON number that is an integer: 1, not "1", true or 1.5.
Whole = Annotated[int, Field(strict=True)]


class Strict(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Dataset(Strict):
    """An archive that will be uploaded."""

    sha256: Sha256
    bytes: Annotated[Whole, Field(ge=1, le=1 << 40)]


class AppliedEdit(Strict):
    """An edit that the device's model has; its vectors are in the archive."""

    vectors: Annotated[list[Sha256], Field(min_length=1, max_length=64)]
    method: Annotated[str, StringConstraints(max_length=40)]
    settings: Annotated[dict[str, Any], Field(max_length=10)]

    @field_validator("method")
    @classmethod
    def _is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"there is no merge method {method!r}; there are {', '.join(METHODS)}")
        return method

    @field_validator("settings")
    @classmethod
    def _are_plain(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for value in settings.values():
            plain = list(value.values()) if isinstance(value, dict) and len(value) <= 100 else [value]
            if not all(isinstance(one, int | float | str) and len(str(one)) <= 40 for one in plain):
                raise ValueError("a setting of a merge method is a number, a word, or numbers by layer")
        return settings


class FineTuning(Strict):
    """Fields of `trainer.training.settings.FineTuningSettings` that a device may choose, and the vector's density.

    Fields that are left out have their defaults there.
    """

    epochs: Annotated[Whole, Field(ge=1, le=200)] | None = None
    scope: Literal["all", "acoustic", "encoder", "decoder", "attention"] = "all"
    augment: Annotated[bool, Field(strict=True)] = False
    seed: Annotated[Whole, Field(ge=0, le=2**31 - 1)] = 0
    density: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0


class TrainingRequest(Strict):
    """One domain to learn.

    Attributes:
        key: chosen by the device; the same key is the same job, however often it is sent.
        base: SHA-256 of the weights that the device's model began with.
        edits: that it has since.
        dataset: what will be uploaded.
        settings: of the fine-tuning.
    """

    key: Key
    base: Sha256
    edits: Annotated[list[AppliedEdit], Field(max_length=256)]
    dataset: Dataset
    settings: FineTuning
