"""Task vectors: fine-tuned minus previous weights, what can be done with them, and their files.

`editing.vector_file` says how a file is made up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from editing.errors import TaskVectorError, one_line
from editing.files import write_atomically
from editing.layers import layer
from editing.method import Tensors, for_each_tensor, is_finite
from editing.sparsify import Array, trim
from editing.vector_file import (
    FORMAT_VERSION,
    NOT_FINITE,
    RECORD,
    Origin,
    Shapes,
    blocks,
    check_fit,
    decode,
    encode,
    opened,
)

__all__ = ["RECORD", "Origin", "Summary", "TaskVector", "apply", "check_file", "read_origin", "summarise"]


@dataclass(frozen=True)
class TaskVector:
    """A difference of weights: float32 arrays by parameter name, and where they come from."""

    tensors: Tensors
    origin: Origin

    @classmethod
    def difference(cls, after: Tensors, before: Tensors, origin: Origin) -> Self:
        """`after` minus `before`, which have the same names and shapes.

        Raises:
            TaskVectorError: they do not, or the difference is not finite.
        """
        if different := sorted(after.keys() ^ before.keys()):
            raise TaskVectorError(f"the two models differ in their tensors: {', '.join(different[:5])}")
        tensors = {}
        for name, tensor in after.items():
            if tensor.shape != before[name].shape:
                raise TaskVectorError(f"{name}: shape {tensor.shape} after, {before[name].shape} before")
            tensors[name] = tensor - before[name]
            if not is_finite(tensors[name]):
                raise TaskVectorError(f"{name}: the fine-tuned weights are not finite; nothing was merged")
        return cls(tensors, origin)

    @property
    def norm(self) -> float:
        """Euclidean length."""
        return math.sqrt(self.dot(self))

    @property
    def density(self) -> float:
        """The fraction of entries that are not zero."""
        total = sum(tensor.size for tensor in self.tensors.values())
        return sum(int(np.count_nonzero(tensor)) for tensor in self.tensors.values()) / max(1, total)

    def dot(self, other: TaskVector) -> float:
        """The scalar product of two vectors of the same names."""
        return sum(_dot(tensor, other.tensors[name]) for name, tensor in self.tensors.items())

    def cosine(self, other: TaskVector) -> float:
        """Of the angle between two vectors of the same names; 0 where one is zero."""
        norms = self.norm * other.norm
        return self.dot(other) / norms if norms else 0.0

    def __add__(self, other: TaskVector) -> TaskVector:
        return replace(self, tensors={name: tensor + other.tensors[name] for name, tensor in self.tensors.items()})

    def scaled(self, lam: float) -> TaskVector:
        """The vector times a scaling coefficient."""
        return replace(self, tensors={name: tensor * np.float32(lam) for name, tensor in self.tensors.items()})

    def trimmed(self, density: float) -> TaskVector:
        """The vector with only this fraction of each tensor's entries, the largest; its origin is as it was."""
        return replace(self, tensors={name: trim(tensor, density) for name, tensor in self.tensors.items()})

    def layers(self) -> dict[str, float]:
        """The norm of each layer's part, by the layer's name, in the order of the tensors."""
        squares: dict[str, float] = {}
        for name, tensor in self.tensors.items():
            squares[layer(name)] = squares.get(layer(name), 0.0) + _dot(tensor, tensor)
        return {name: math.sqrt(square) for name, square in squares.items()}

    def as_stored(self) -> TaskVector:
        """The vector as it will be when it is read again."""
        return replace(self, tensors={name: decode(*encode(tensor)) for name, tensor in self.tensors.items()})

    def check(self, base: str, shapes: Shapes, name: str) -> None:
        """Whether this vector can be merged into a model.

        Args:
            base: sha256 of the model's base weights.
            shapes: of the model's tensors.
            name: what to call this vector in errors.

        Raises:
            WrongBaseError: it was taken from another base.
            TaskVectorError: a tensor is missing, unknown, of another shape, or not finite.
        """
        check_fit(name, self.origin, {tensor: array.shape for tensor, array in self.tensors.items()}, base, shapes)
        infinite = sorted(tensor for tensor, array in self.tensors.items() if not is_finite(array))
        if infinite:
            problems = "; ".join(f"{one_line(tensor)} is not finite" for tensor in infinite[:3])
            raise TaskVectorError(f"{name}: does not fit the model: {problems}")

    def to_bytes(self) -> bytes:
        """The file's bytes; the same vector gives the same bytes."""
        stored: dict[str, NDArray[Any]] = {}
        for name, tensor in self.tensors.items():
            parts, _ = encode(tensor)
            stored |= {f"{part}/{name}": array for part, array in parts.items()}
        record = {
            "format_version": FORMAT_VERSION,
            **asdict(self.origin),
            "shapes": {name: tensor.shape for name, tensor in self.tensors.items()},
        }
        return save(stored, metadata={RECORD: json.dumps(record, ensure_ascii=False)})

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path, *, base: str | None = None, shapes: Shapes | None = None, name: str = "") -> Self:
        """Reads a file.

        What the file claims is compared with the model before any tensor takes memory. A file of
        400 bytes can claim tensors of gigabytes, as zeros are not stored: give `base` and `shapes`
        wherever there is a model.

        Args:
            path: the file.
            base: sha256 of the model's base weights; None takes a vector of any base.
            shapes: of the model's tensors; None takes any. Tensors of zeros are then read-only and take
                no memory, and the others take up to 40 times what they take in the file.
            name: what to call the file in errors; its path, if empty.

        Raises:
            WrongBaseError: it was taken from another base.
            TaskVectorError: it is not a task vector's file, of a later version, or damaged; or a tensor
                is missing, unknown or of another shape than the model's.
        """
        with opened(path, name, base, shapes) as file:
            tensors = {}
            for tensor, shape in file.shapes.items():
                parts = file.parts(tensor)
                with file.blaming(tensor):
                    if not parts and shapes is None:
                        tensors[tensor] = np.broadcast_to(np.float32(0), shape)
                        continue
                    tensors[tensor] = decode(parts, shape)
                    if not is_finite(tensors[tensor]):
                        raise ValueError(NOT_FINITE)
            return cls(tensors, file.origin)


def apply(base: Tensors, merged: Tensors, out: Tensors | None = None) -> dict[str, Array]:
    """theta + the merged vector (its coefficient is in it already), tensor by tensor.

    Args:
        base: theta.
        merged: of the same names and shapes.
        out: arrays that take the result, as numpy's `out`; `merged` itself, where it is not needed
            any more. New memory costs more than the sum: the system must hand it out page by page.

    Raises:
        TaskVectorError: the result is not finite.
    """

    def add(name: str, tensors: Sequence[Array]) -> Array:
        with np.errstate(over="ignore"):  # told below
            total: Array = np.add(tensors[0], tensors[1], out=None if out is None else out[name])
        if not is_finite(total):
            raise TaskVectorError(f"{name}: would not be finite after the merge; use a smaller lambda")
        return total

    return for_each_tensor([base, merged], add)


def read_origin(path: Path, *, name: str = "") -> Origin:
    """Where the vector in a file comes from; its tensors are not read.

    Raises:
        TaskVectorError: it is not a task vector's file.
    """
    with opened(path, name) as file:
        return file.origin


def check_file(path: Path, base: str, shapes: Shapes, *, name: str = "") -> None:
    """Whether a file claims to be a task vector of a model; its tensors are not read.

    Args:
        path: the file.
        base: sha256 of the model's base weights.
        shapes: of the model's tensors.
        name: what to call the file in errors; its path, if empty.

    Raises:
        WrongBaseError: it was taken from another base.
        TaskVectorError: it is not a task vector's file, or a tensor is missing, unknown, of another
            shape, or of a size or type that does not belong to its shape.
    """
    with opened(path, name, base, shapes):
        pass


@dataclass(frozen=True)
class Summary:
    """What `summarise` says of a task vector's file.

    Attributes:
        origin: where the vector comes from.
        norm: its Euclidean length.
        density: the fraction of entries that are not zero.
        layers: the norm of each layer's part, as `TaskVector.layers`.
    """

    origin: Origin
    norm: float
    density: float
    layers: Mapping[str, float]


def summarise(path: Path, *, base: str | None = None, shapes: Shapes | None = None, name: str = "") -> Summary:
    """A file's origin, norm, density and layers, a block of entries at a time: memory stays near the file's size.

    Args:
        path: the file.
        base, shapes: of a model that the vector must fit, as `TaskVector.load`.
        name: what to call the file in errors; its path, if empty.

    Raises:
        WrongBaseError, TaskVectorError: as `TaskVector.load`.
    """
    with opened(path, name, base, shapes) as file:
        squares: dict[str, float] = {}
        nonzero = 0
        for tensor, shape in file.shapes.items():
            parts = file.parts(tensor)
            of_layer = layer(tensor)
            squares.setdefault(of_layer, 0.0)
            with file.blaming(tensor):
                for block in blocks(parts, shape):
                    if not is_finite(block):
                        raise ValueError(NOT_FINITE)
                    squares[of_layer] += _dot(block, block)
                    nonzero += int(np.count_nonzero(block))
        total = sum(math.prod(shape) for shape in file.shapes.values())
        layers = {name: math.sqrt(square) for name, square in squares.items()}
        return Summary(file.origin, math.sqrt(sum(squares.values())), nonzero / max(1, total), layers)


def _dot(one: Array, other: Array) -> float:
    # Blocks, as float32 sums over millions of entries lose digits, and float64 copies take memory.
    one, other = one.reshape(-1), other.reshape(-1)
    step = 1 << 20
    return float(
        sum(
            np.dot(one[start : start + step].astype(np.float64), other[start : start + step].astype(np.float64))
            for start in range(0, len(one), step)
        )
    )
