"""Task vectors: fine-tuned minus previous weights, what can be done with them, and their files.

A file is one safetensors file. Its metadata hold a JSON record; its tensors are the differences,
each in the smallest of these forms:

    whole/NAME                     float32; vectors and scalars: norms, biases
    codes/NAME, scale/NAME         int8 of the tensor's shape, and a float32 for each row
    mask/NAME, codes/NAME, scale/NAME
                                   a bit for each entry (most significant first), and int8 for
                                   those that are not zero
    (none)                         all entries are zero; the record has the shape

A value is its code times the scale of its row (the first axis), so that a row's largest entry is
met exactly and the others to 1/254 of it. Encoding what was decoded changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from editing.errors import TaskVectorError, WrongBaseError
from editing.files import write_atomically
from editing.layers import layer
from editing.registry import Tensors, for_each_tensor, is_finite
from editing.sparsify import Array, trim

FORMAT_VERSION = 1
RECORD = "asr-edge"
MOST_CODE = 127


@dataclass(frozen=True)
class Origin:
    """Where a task vector comes from.

    Attributes:
        family: model family of its base.
        base: sha256 of the base bundle's weights file.
        domain: whose speech it was learnt from.
        created: ISO 8601, UTC.
        utterances, seconds: how much there was to learn from.
        method, density: how it was trimmed, if it was.
        scores: what was measured with it, by name; WER are fractions.
    """

    family: str
    base: str
    domain: str
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    utterances: int = 0
    seconds: float = 0.0
    method: str = ""
    density: float = 1.0
    scores: Mapping[str, float] = field(default_factory=dict)


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
        return replace(self, tensors={name: _decode(*_encode(tensor)) for name, tensor in self.tensors.items()})

    def check(self, base: str, shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
        """Whether this vector can be merged into a model.

        Args:
            base: sha256 of the model's base weights.
            shapes: of the model's tensors.
            name: what to call this vector in errors.

        Raises:
            WrongBaseError: it was taken from another base.
            TaskVectorError: a tensor is missing, unknown, of another shape, or not finite.
        """
        if self.origin.base != base:
            raise WrongBaseError(
                f"{name}: taken from base {self.origin.base[:8]}, but this device runs {base[:8]}; nothing was merged. "
                f"Ask for a vector taken from {base[:8]}, or use --model with that base"
            )
        problems = [f"{tensor} is missing" for tensor in shapes.keys() - self.tensors.keys()]
        problems += [f"{tensor} is unknown" for tensor in self.tensors.keys() - shapes.keys()]
        problems += [
            f"{tensor} has shape {self.tensors[tensor].shape}, expected {shape}"
            for tensor, shape in shapes.items()
            if tensor in self.tensors and self.tensors[tensor].shape != shape
        ]
        problems += [f"{tensor} is not finite" for tensor, array in self.tensors.items() if not is_finite(array)]
        if problems:
            raise TaskVectorError(f"{name}: does not fit the model: {'; '.join(sorted(problems)[:3])}")

    def to_bytes(self) -> bytes:
        """The file's bytes; the same vector gives the same bytes."""
        stored: dict[str, NDArray[Any]] = {}
        for name, tensor in self.tensors.items():
            parts, _ = _encode(tensor)
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
    def load(cls, path: Path) -> Self:
        """Reads a file; `check` tells whether it fits a model.

        Raises:
            TaskVectorError: it is not a task vector's file, of a later version, or damaged.
        """
        record, stored = _read(path)
        origin = _origin(path, record)
        tensors = {}
        for name, shape in _shapes(path, record).items():
            parts = {
                part: stored.pop(f"{part}/{name}")
                for part in ("whole", "mask", "codes", "scale")
                if f"{part}/{name}" in stored
            }
            try:
                tensors[name] = _decode(parts, shape)
            except (ValueError, KeyError, IndexError) as error:
                raise TaskVectorError(f"{path}: {name} is damaged ({error}); nothing was changed") from error
            if not is_finite(tensors[name]):
                raise TaskVectorError(f"{path}: {name} has entries that are not finite; nothing was changed")
        if stored:
            raise TaskVectorError(f"{path}: has a tensor that its record does not name: {min(stored)}")
        return cls(tensors, origin)


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


def read_origin(path: Path) -> Origin:
    """Where the vector in a file comes from; its tensors are not read.

    Raises:
        TaskVectorError: it is not a task vector's file.
    """
    with _opened(path) as file:
        return _origin(path, _record(path, file.metadata()))


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


# The forms of a tensor


def _encode(tensor: Array) -> tuple[dict[str, NDArray[Any]], tuple[int, ...]]:
    """A tensor's smallest form, part by part, and its shape."""
    if tensor.ndim < 2 or not tensor.size:
        return {"whole": np.asarray(tensor, np.float32, order="C")}, tensor.shape
    rows = tensor.reshape(len(tensor), -1)
    scales = (np.abs(rows).max(axis=1, initial=0) / np.float32(MOST_CODE)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 0
    divisors = np.where(scales > 0, scales, np.float32(1))
    codes = np.clip(np.rint(rows / divisors[:, None]), -MOST_CODE, MOST_CODE).astype(np.int8)
    codes[scales == 0] = 0
    kept = codes != 0
    count = int(np.count_nonzero(kept))
    if not count:
        return {}, tensor.shape
    if count + codes.size / 8 < codes.size:
        return {"mask": np.packbits(kept), "codes": codes[kept], "scale": scales}, tensor.shape
    return {"codes": codes.reshape(tensor.shape), "scale": scales}, tensor.shape


def _decode(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Array:
    """
    Raises:
        ValueError, KeyError: the parts do not make up a tensor of this shape.
    """
    size = math.prod(shape)
    if not parts:
        return np.zeros(shape, np.float32)
    if "whole" in parts:
        whole: Array = parts["whole"]
        if whole.shape != shape or whole.dtype != np.float32 or len(parts) > 1:
            raise ValueError("it is not float32 of the shape that the record says")
        return whole
    codes, scales = parts["codes"], parts["scale"]
    if codes.dtype != np.int8 or scales.dtype != np.float32 or not shape or scales.shape != shape[:1]:
        raise ValueError("its codes and scales are not int8 and a float32 for each row")
    if not np.isfinite(scales).all():
        raise ValueError("its scales are not finite")
    if "mask" in parts:
        mask = parts["mask"]
        if mask.dtype != np.uint8 or mask.shape != ((size + 7) // 8,):
            raise ValueError("its mask is not a bit for each entry")
        kept = np.unpackbits(mask, count=size).view(np.bool_)
        if codes.shape != (np.count_nonzero(kept),):
            raise ValueError("its mask does not keep as many entries as there are codes")
        every = np.zeros(size, np.int8)
        every[kept] = codes
        codes = every
    rows = codes.reshape(shape[0], -1).astype(np.float32)
    if rows.size != size:
        raise ValueError("it does not have as many entries as the record says")
    rows *= scales[:, None]
    return rows.reshape(shape)


# Reading a file that may be anything


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise TaskVectorError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise TaskVectorError(
            f"{path}: is not a task vector, or is cut short ({error}); nothing was changed"
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with _opened(path) as file:
        record = _record(path, file.metadata())
        try:
            return record, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, ValueError) as error:
            raise TaskVectorError(f"{path}: is damaged ({error}); nothing was changed") from error


def _record(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        record = json.loads((metadata or {})[RECORD])
    except (KeyError, ValueError):
        raise TaskVectorError(f"{path}: safetensors, but not a task vector of asr-edge") from None
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        version = record.get("format_version") if isinstance(record, dict) else None
        raise TaskVectorError(f"{path}: format version {version!r}; this asr-edge reads version {FORMAT_VERSION}")
    return record


def _origin(path: Path, record: Mapping[str, Any]) -> Origin:
    kinds: Mapping[str, Callable[[Any], bool]] = {
        "scores": lambda value: isinstance(value, dict) and all(isinstance(v, int | float) for v in value.values()),
        "utterances": lambda value: isinstance(value, int),
        "seconds": lambda value: isinstance(value, int | float),
        "density": lambda value: isinstance(value, int | float),
    }
    names = [one.name for one in fields(Origin)]
    wrong = [
        name
        for name in names
        if name not in record or not kinds.get(name, lambda value: isinstance(value, str))(record[name])
    ]
    if wrong:
        raise TaskVectorError(f"{path}: its record lacks, or has of the wrong type: {', '.join(wrong)}")
    return Origin(**{name: record[name] for name in names})


MOST_ENTRIES = 1 << 33  # a tensor of zeros takes no room in a file; this is where disbelief begins


def _shapes(path: Path, record: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes = record.get("shapes")
    if not isinstance(shapes, dict) or not all(
        isinstance(shape, list) and all(isinstance(n, int) and n >= 0 for n in shape) for shape in shapes.values()
    ):
        raise TaskVectorError(f"{path}: its record has no shapes")
    if sum(math.prod(shape) for shape in shapes.values()) > MOST_ENTRIES:
        raise TaskVectorError(f"{path}: claims to be larger than any model that runs here")
    return {name: tuple(shape) for name, shape in shapes.items()}
