"""Task vectors (fine-tuned minus previous weights): arithmetic, checks, and files.

`editing.vector_file` documents the file format.
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
from editing.vector_file.encoding import blocks, decode, encode, rounded
from editing.vector_file.reader import (
    FORMAT_VERSIONS,
    NOT_FINITE,
    RECORD,
    Origin,
    Shapes,
    check_fit,
    open_vector_file,
    training_size,
)

__all__ = [
    "RECORD",
    "Origin",
    "Summary",
    "TaskVector",
    "apply",
    "check_file",
    "read_origin",
    "summarise",
    "training_size",
]


@dataclass(frozen=True)
class TaskVector:
    """A difference of weights: float32 arrays by parameter name, and their origin.

    A sum has the origin of its first vector.
    """

    tensors: Tensors
    origin: Origin

    @classmethod
    def difference(cls, after: Tensors, before: Tensors, origin: Origin) -> Self:
        """Computes `after` minus `before`.

        Raises:
            TaskVectorError: the names or shapes differ, a tensor is not a float32 array, or the result is not finite.
        """
        if different := sorted(after.keys() ^ before.keys()):
            raise TaskVectorError(f"the two models differ in their tensors: {', '.join(different[:5])}")
        tensors = {}
        for name, tensor in after.items():
            _check_array(name, tensor)
            _check_array(name, before[name])
            if tensor.shape != before[name].shape:
                raise TaskVectorError(f"{name}: shape {tensor.shape} after, {before[name].shape} before")
            tensors[name] = tensor - before[name]
            if not is_finite(tensors[name]):
                raise TaskVectorError(f"{name}: the fine-tuned weights are not finite; nothing was merged")
        return cls(tensors, origin)

    @property
    def norm(self) -> float:
        """The Euclidean norm over all tensors."""
        return math.sqrt(self.dot(self))

    @property
    def density(self) -> float:
        """The fraction of entries that are not zero."""
        total = sum(tensor.size for tensor in self.tensors.values())
        return sum(int(np.count_nonzero(tensor)) for tensor in self.tensors.values()) / max(1, total)

    def dot(self, other: TaskVector) -> float:
        """The dot product with a vector of the same names."""
        return sum(_dot(tensor, other.tensors[name]) for name, tensor in self.tensors.items())

    def cosine(self, other: TaskVector) -> float:
        """The cosine similarity with a vector of the same names; 0 if one of them is zero."""
        norms = self.norm * other.norm
        return self.dot(other) / norms if norms else 0.0

    def __add__(self, other: TaskVector) -> TaskVector:
        return replace(self, tensors={name: tensor + other.tensors[name] for name, tensor in self.tensors.items()})

    def scaled(self, lam: float) -> TaskVector:
        """The vector multiplied by a scaling coefficient."""
        return replace(self, tensors={name: tensor * np.float32(lam) for name, tensor in self.tensors.items()})

    def trimmed(self, density: float) -> TaskVector:
        """The vector with only the largest entries of each tensor, a fraction `density`; its origin is unchanged."""
        return replace(self, tensors={name: trim(tensor, density) for name, tensor in self.tensors.items()})

    def layers(self) -> dict[str, float]:
        """The norm of each layer, by layer name, in the order of the tensors."""
        squares: dict[str, float] = {}
        for name, tensor in self.tensors.items():
            squares[layer(name)] = squares.get(layer(name), 0.0) + _dot(tensor, tensor)
        return {name: math.sqrt(square) for name, square in squares.items()}

    def as_stored(self) -> TaskVector:
        """The vector rounded to codes of four or eight bits (`encoding.rounded`); `save` stores it exactly."""
        return replace(self, tensors={name: rounded(tensor) for name, tensor in self.tensors.items()})

    def check(self, base: str, shapes: Shapes, name: str) -> None:
        """Checks that this vector can be merged into a model.

        Args:
            base: sha256 of the model's base weights.
            shapes: shapes of the model's tensors.
            name: name of this vector in error messages.

        Raises:
            WrongBaseError: the vector was taken from another base.
            TaskVectorError: a tensor is missing, unknown, of another shape, or not finite.
        """
        check_fit(name, self.origin, {tensor: array.shape for tensor, array in self.tensors.items()}, base, shapes)
        infinite = sorted(tensor for tensor, array in self.tensors.items() if not is_finite(array))
        if infinite:
            problems = "; ".join(f"{one_line(tensor)} is not finite" for tensor in infinite[:3])
            raise TaskVectorError(f"{name}: does not fit the model: {problems}")

    def to_bytes(self) -> bytes:
        """The bytes of the vector's file; equal vectors give equal bytes."""
        stored: dict[str, NDArray[Any]] = {}
        for name, tensor in self.tensors.items():
            stored |= {f"{part}/{name}": array for part, array in encode(tensor).items()}
        has_nibbles = any(key.startswith("nibbles/") for key in stored)
        # Version 1 stores one-dimensional tensors of zeros too, so that its files are written again byte for byte.
        if has_nibbles:
            stored = {key: array for key, array in stored.items() if not key.startswith("whole/") or array.any()}
        record = {
            # Earlier versions of asr-edge read only the first.
            "format_version": FORMAT_VERSIONS[1 if has_nibbles else 0],
            **asdict(self.origin),
            "shapes": {name: tensor.shape for name, tensor in self.tensors.items()},
        }
        return save(stored, metadata={RECORD: json.dumps(record, ensure_ascii=False)})

    def save(self, path: str | Path) -> None:
        """Writes the file atomically.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path, *, base: str | None = None, shapes: Shapes | None = None, name: str = "") -> Self:
        """Reads a file.

        Compares the declared tensors with the model before it allocates any. A file of 400 bytes can
        declare gigabytes of tensors, because zeros are not stored: pass `base` and `shapes` whenever
        the model is known.

        Args:
            path: the file.
            base: sha256 of the model's base weights; None accepts any base.
            shapes: shapes of the model's tensors; None accepts any. Tensors of zeros are then read-only
                and take no memory, and the others take up to 40 times their size in the file, where an entry that
                was trimmed takes one bit.
            name: name of the file in error messages; the path if empty.

        Raises:
            WrongBaseError: the vector was taken from another base.
            TaskVectorError: the file is not a task vector, of a newer format version, or damaged; or a
                tensor is missing, unknown or of another shape than the model's.
        """
        with open_vector_file(Path(path), name, base, shapes) as file:
            tensors = {}
            for tensor, shape in file.shapes.items():
                parts = file.parts(tensor)
                with file.reporting_damage(tensor):
                    if not parts and shapes is None:
                        tensors[tensor] = np.broadcast_to(np.float32(0), shape)
                        continue
                    tensors[tensor] = decode(parts, shape)
                    if not is_finite(tensors[tensor]):
                        raise ValueError(NOT_FINITE)
            return cls(tensors, file.origin)


def apply(base: Tensors, merged: Tensors, out: Tensors | None = None) -> dict[str, Array]:
    """Adds a merged vector, which is scaled already, to the weights.

    Args:
        base: the weights, theta.
        merged: a vector of the same names and shapes.
        out: arrays for the result, as numpy's `out`; may be `merged` itself. Allocating new memory
            takes longer than the addition, because the system maps it page by page.

    Returns:
        The new weights by name; the arrays of `out` if it is given.

    Raises:
        TaskVectorError: the names or shapes differ, or the result is not finite.
    """
    if different := sorted(map(str, base.keys() ^ merged.keys())):
        raise TaskVectorError(f"the vector differs from the weights in its tensors: {', '.join(different[:5])}")
    for name, tensor in merged.items():
        if tensor.shape != base[name].shape:
            raise TaskVectorError(f"{name}: the vector has shape {tensor.shape}, the weights {base[name].shape}")

    def add(name: str, tensors: Sequence[Array]) -> Array:
        with np.errstate(over="ignore"):  # checked below
            total: Array = np.add(tensors[0], tensors[1], out=None if out is None else out[name])
        if not is_finite(total):
            raise TaskVectorError(f"{name}: would not be finite after the merge; use a smaller lambda")
        return total

    return for_each_tensor([base, merged], add)


def _check_array(name: str, tensor: object) -> None:
    kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
    if kind != np.float32:
        raise TaskVectorError(f"{name} is {kind}; expected a float32 array")


def read_origin(path: Path, *, name: str = "") -> Origin:
    """Reads the origin of a vector from its file, without its tensors.

    Raises:
        TaskVectorError: the file is not a task vector.
    """
    with open_vector_file(path, name) as file:
        return file.origin


def check_file(path: Path, base: str, shapes: Shapes, *, name: str = "") -> None:
    """Checks the header of a task vector's file against a model, without reading its tensors.

    Args:
        path: the file.
        base: sha256 of the model's base weights.
        shapes: shapes of the model's tensors.
        name: name of the file in error messages; the path if empty.

    Raises:
        WrongBaseError: the vector was taken from another base.
        TaskVectorError: the file is not a task vector, or a tensor is missing, unknown, of another
            shape, or stored with a size or type that does not match its shape.
    """
    with open_vector_file(path, name, base, shapes):
        pass


@dataclass(frozen=True)
class Summary:
    """Statistics of a task vector's file, as `summarise` computes them.

    Attributes:
        origin: where the vector comes from.
        norm: its Euclidean norm.
        density: the fraction of entries that are not zero.
        layers: the norm of each layer, as `TaskVector.layers`.
    """

    origin: Origin
    norm: float
    density: float
    layers: Mapping[str, float]


def summarise(path: Path, *, base: str | None = None, shapes: Shapes | None = None, name: str = "") -> Summary:
    """Computes statistics of a file block by block, so that memory use stays near the size of the file.

    Args:
        path: the file.
        base, shapes: those of a model that the vector must fit, as in `TaskVector.load`.
        name: name of the file in error messages; the path if empty.

    Raises:
        WrongBaseError, TaskVectorError: as `TaskVector.load`.
    """
    with open_vector_file(path, name, base, shapes) as file:
        squares: dict[str, float] = {}
        nonzero = 0
        for tensor, shape in file.shapes.items():
            parts = file.parts(tensor)
            of_layer = layer(tensor)
            squares.setdefault(of_layer, 0.0)
            with file.reporting_damage(tensor):
                for block in blocks(parts, shape):
                    if not is_finite(block):
                        raise ValueError(NOT_FINITE)
                    squares[of_layer] += _dot(block, block)
                    nonzero += int(np.count_nonzero(block))
        total = sum(math.prod(shape) for shape in file.shapes.values())
        layers = {name: math.sqrt(square) for name, square in squares.items()}
        return Summary(file.origin, math.sqrt(sum(squares.values())), nonzero / max(1, total), layers)


def _dot(one: Array, other: Array) -> float:
    """The dot product of two tensors of the same shape, in float64."""
    # In blocks: float32 sums over millions of entries lose precision, and a float64 copy of everything takes memory.
    one, other = one.reshape(-1), other.reshape(-1)
    step = 1 << 20
    return float(
        sum(
            np.dot(one[start : start + step].astype(np.float64), other[start : start + step].astype(np.float64))
            for start in range(0, len(one), step)
        )
    )
