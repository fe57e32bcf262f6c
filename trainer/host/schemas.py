"""The schema of a device's request. Every field is validated; no field takes code, commands or paths."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from editing.methods import METHODS

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
MAX_NAMED_VECTORS = 512  # in all edits together, repeated ones included: each is loaded again
# A JSON number that is an integer: 1, not "1", true or 1.5.
StrictInteger = Annotated[int, Field(strict=True)]


class StrictModel(BaseModel):
    """A Pydantic model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Dataset(StrictModel):
    """The archive of recordings, texts and task vectors, which is uploaded later.

    Attributes:
        sha256: of the archive.
        bytes: its size.
    """

    sha256: Sha256
    bytes: Annotated[StrictInteger, Field(ge=1, le=1 << 40)]


class AppliedEdit(StrictModel):
    """An edit of the device's model; its vectors are in the archive.

    Attributes:
        vectors: SHA-256 of each task vector.
        method, settings: those of its merge.
    """

    vectors: Annotated[list[Sha256], Field(min_length=1, max_length=64)]
    method: Annotated[str, StringConstraints(max_length=40)]
    settings: Annotated[dict[str, Any], Field(max_length=10)]

    @field_validator("vectors")
    @classmethod
    def _are_distinct(cls, vectors: list[str]) -> list[str]:
        if len(set(vectors)) < len(vectors):  # each takes memory and time as if it were another vector
            raise ValueError("an edit names a task vector twice")
        return vectors

    @field_validator("method")
    @classmethod
    def _is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"unknown merge method {method!r}; known are {', '.join(METHODS)}")
        return method

    @field_validator("settings")
    @classmethod
    def _are_plain(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for value in settings.values():
            plain = list(value.values()) if isinstance(value, dict) and len(value) <= 100 else [value]
            if not all(isinstance(one, int | float | str) and len(str(one)) <= 40 for one in plain):
                raise ValueError("a setting of a merge method is a number, a word, or a table of them by layer")
        return settings


class FineTuning(StrictModel):
    """Fields of `trainer.training.settings.FineTuningSettings` that a device may choose, and the vector's density.

    Missing fields have the defaults of that class. `density` is the fraction of the entries of the returned task vector
    that are kept.
    """

    epochs: Annotated[StrictInteger, Field(ge=1, le=200)] | None = None
    scope: Literal["all", "acoustic", "encoder", "decoder", "attention"] = "all"
    augment: Annotated[bool, Field(strict=True)] = False
    seed: Annotated[StrictInteger, Field(ge=0, le=2**31 - 1)] = 0
    density: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0


class TrainingRequest(StrictModel):
    """A request to fine-tune on one domain.

    Attributes:
        key: an idempotency key, chosen by the device; requests with the same key create one job.
        base: SHA-256 of the base weights of the device's model.
        edits: the edits of the device's model, in order.
        dataset: the archive that will be uploaded.
        settings: the settings of the fine-tuning.
    """

    key: IdempotencyKey
    base: Sha256
    edits: Annotated[list[AppliedEdit], Field(max_length=256)]
    dataset: Dataset
    settings: FineTuning

    @field_validator("edits")
    @classmethod
    def _name_few_vectors(cls, edits: list[AppliedEdit]) -> list[AppliedEdit]:
        if sum(len(edit.vectors) for edit in edits) > MAX_NAMED_VECTORS:
            raise ValueError(f"the edits name more than {MAX_NAMED_VECTORS} task vectors, repeated ones included")
        return edits
