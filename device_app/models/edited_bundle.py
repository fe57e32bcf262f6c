"""A base bundle with edits applied: on the device from its ledger, on a host from an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from device_app.models.ledger_record import Applied
from editing.errors import AsrEdgeError
from editing.methods import METHODS
from editing.sparsify import Array
from editing.task_vector import TaskVector, apply
from export.bundle import Bundle


class VectorSource(Protocol):
    """Provides the task vectors of edits by the SHA-256 of their file."""

    def vector_path(self, digest: str) -> Path:
        """The path of the file with this SHA-256."""
        ...

    def vector(self, digest: str) -> TaskVector:
        """Loads the file with this SHA-256.

        Raises:
            AsrEdgeError: the file is missing or damaged, or does not fit the base.
        """
        ...

    def cannot_apply(self, applied: Applied, reason: str) -> AsrEdgeError:
        """The error to raise for an edit that cannot be applied; names the edit, the reason and the remedy."""
        ...


@dataclass(frozen=True)
class EditedBundle(Bundle):
    """A bundle with the weights of a base after edits; everything else is that of the base. See `edited_bundle`.

    Attributes:
        applied: the edits, in order; they determine the weights and the inputs of the bake.
        source: provides their task vectors.
    """

    applied: Sequence[Applied] = field(kw_only=True)
    source: VectorSource = field(kw_only=True, repr=False)

    def weights(self) -> dict[str, Array]:
        """As `Bundle.weights`, with the edits applied.

        Raises:
            AsrEdgeError: the base or a vector is missing or damaged, or an edit cannot be applied.
        """
        weights = super().weights()
        for applied in self.applied:
            vectors = [self.source.vector(digest).tensors for digest in applied.vectors]
            try:
                merged = METHODS[applied.method](vectors, **applied.settings)
                weights = apply(weights, merged, out=merged)  # in the memory of `merged`, see `apply`
            except ValueError as error:
                raise self.source.cannot_apply(applied, str(error)) from error
        return weights

    @property
    def bake_inputs(self) -> list[Any]:
        return [*super().bake_inputs, [[list(a.vectors), a.method, dict(a.settings)] for a in self.applied]]

    def vector_paths(self) -> list[Path]:
        """The files of the task vectors of the edits, without duplicates."""
        digests = dict.fromkeys(digest for applied in self.applied for digest in applied.vectors)
        return [self.source.vector_path(digest) for digest in digests]


def edited_bundle(base: Bundle, applied: Sequence[Applied], source: VectorSource) -> Bundle:
    """Returns a base with edits applied; the base itself if there are none.

    Args:
        base: the base.
        applied: the edits, in order.
        source: provides their task vectors when the weights are needed.
    """
    if not applied:
        return base
    own = {one.name: getattr(base, one.name) for one in fields(Bundle)}
    # Baked files in the base bundle have the weights of the base.
    own["files"] = {name: digest for name, digest in base.files.items() if not name.startswith(("int8/", "fp32/"))}
    return EditedBundle(**own, applied=applied, source=source)
