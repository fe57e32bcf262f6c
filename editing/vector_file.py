"""The file format of task vectors: encoding of tensors, and reading of untrusted files.

A task vector is one safetensors file. Its metadata contains a JSON record. Its tensors are the
differences, each in the smallest of these encodings:

    whole/NAME                     float32; vectors and scalars: norms, biases
    codes/NAME, scale/NAME         int8 of the tensor's shape, and a float32 for each row
    mask/NAME, codes/NAME, scale/NAME
                                   a bit for each entry (most significant first), and int8 for
                                   those that are not zero
    (none)                         all entries are zero; the record has the shape

A value is its code times the scale of its row (the first axis). The largest entry of a row is
therefore exact, and the error of the others is at most 1/254 of it. Encoding a decoded tensor
changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from editing.errors import TaskVectorError, WrongBaseError, one_line
from editing.former_names import SCORES, translated
from editing.json_text import is_number, is_scores, is_whole_number, parse_json, shown
from editing.sparsify import Array

FORMAT_VERSION = 1
RECORD = "asr-edge"
PARTS = ("whole", "mask", "codes", "scale")
MAX_CODE = 127
BLOCK = 1 << 20  # entries processed at a time by `blocks`; a multiple of 8

# Tensors of zeros take no space in a file, so the file size does not bound the declared size. No supported model is
# larger.
MAX_ENTRIES = 1 << 33
MAX_DIMENSIONS = 64  # numpy's
MAX_HEADER_BYTES = 8 << 20  # bytes; a model of 5000 tensors has 3 MB

NOT_FINITE = "it has entries that are not finite"
WRONG_COUNT = "its mask selects another number of entries than there are codes"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Origin:
    """Where a task vector comes from.

    Attributes:
        family: model family of its base.
        base: sha256 of the base bundle's weights file.
        domain: the domain that it was fine-tuned on.
        created: ISO 8601, UTC.
        utterances, seconds: size of the training set.
        method, density: how it was trimmed, if it was.
        scores: evaluation results by name; WERs are fractions.
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


# Encodings of a tensor


def encode(tensor: Array) -> tuple[dict[str, NDArray[Any]], tuple[int, ...]]:
    """The smallest encoding of a tensor, as its parts by name, and the tensor's shape."""
    if tensor.ndim < 2 or not tensor.size:
        return {"whole": np.asarray(tensor, np.float32, order="C")}, tensor.shape
    rows = tensor.reshape(len(tensor), -1)
    scales = (np.abs(rows).max(axis=1, initial=0) / np.float32(MAX_CODE)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 0
    divisors = np.where(scales > 0, scales, np.float32(1))
    codes = np.clip(np.rint(rows / divisors[:, None]), -MAX_CODE, MAX_CODE).astype(np.int8)
    codes[scales == 0] = 0
    kept = codes != 0
    count = int(np.count_nonzero(kept))
    if not count:
        return {}, tensor.shape
    if count + codes.size / 8 < codes.size:
        return {"mask": np.packbits(kept), "codes": codes[kept], "scale": scales}, tensor.shape
    return {"codes": codes.reshape(tensor.shape), "scale": scales}, tensor.shape


def _check_encoding(parts: Mapping[str, tuple[str, tuple[int, ...]]], shape: tuple[int, ...]) -> None:
    """Checks the declared type and shape of each part of a tensor against the tensor's shape.

    Raises:
        ValueError: the parts do not encode a tensor of this shape.
    """
    size = math.prod(shape)
    if not parts:
        return
    if "whole" in parts:
        if len(parts) > 1 or parts["whole"] != ("F32", shape):
            raise ValueError("it is not float32 of the shape in the record")
        return
    if not {"codes", "scale"} <= parts.keys():
        raise ValueError("it lacks its codes or its scales")
    codes_type, codes_shape = parts["codes"]
    if codes_type != "I8" or not shape or not size or parts["scale"] != ("F32", shape[:1]):
        raise ValueError("its codes and scales are not int8 and a float32 for each row")
    if "mask" not in parts:
        if math.prod(codes_shape) != size:
            raise ValueError("its number of entries is not that of the shape in the record")
        return
    if parts["mask"] != ("U8", ((size + 7) // 8,)):
        raise ValueError("its mask is not a bit for each entry")
    if len(codes_shape) != 1 or codes_shape[0] > size:
        raise ValueError(WRONG_COUNT)


def decode(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Array:
    """Decodes a tensor from parts that have passed `_check_encoding`.

    Raises:
        ValueError: the scales are not finite, or the mask selects another number of entries than there are codes.
    """
    size = math.prod(shape)
    if not parts:
        return np.zeros(shape, np.float32)
    if "whole" in parts:
        whole: Array = parts["whole"]
        return whole
    codes, scales = parts["codes"], _checked_scales(parts["scale"])
    if "mask" in parts:
        kept = np.unpackbits(parts["mask"], count=size).view(np.bool_)
        if codes.shape != (np.count_nonzero(kept),):
            raise ValueError(WRONG_COUNT)
        every = np.zeros(size, np.int8)
        every[kept] = codes
        codes = every
    rows = codes.reshape(shape[0], -1).astype(np.float32)
    with np.errstate(over="ignore"):  # the caller checks for infinity
        rows *= scales[:, None]
    return rows.reshape(shape)


def blocks(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Iterator[Array]:
    """Decodes the entries of a tensor in order, in blocks of bounded size; zeros may be left out.

    Raises:
        ValueError: as `decode`.
    """
    if not parts:
        return
    if "whole" in parts:
        whole = parts["whole"].reshape(-1)
        yield from (whole[start : start + BLOCK] for start in range(0, len(whole), BLOCK))
        return
    codes, scales = parts["codes"].reshape(-1), _checked_scales(parts["scale"])
    size = math.prod(shape)
    row_length = size // shape[0]
    done = 0
    for start in range(0, size, BLOCK):
        if "mask" in parts:
            bits = np.unpackbits(parts["mask"][start // 8 : (start + BLOCK) // 8], count=min(BLOCK, size - start))
            indices = np.flatnonzero(bits) + start
        else:
            indices = np.arange(start, min(start + BLOCK, size))
        block = codes[done : done + len(indices)].astype(np.float32)
        done += len(indices)
        if len(block) < len(indices):
            raise ValueError(WRONG_COUNT)
        with np.errstate(over="ignore"):  # the caller checks for infinity
            yield block * scales[indices // row_length]
    if done != len(codes):
        raise ValueError(WRONG_COUNT)


def _checked_scales(scales: Array) -> Array:
    if not np.isfinite(scales).all():
        raise ValueError("its scales are not finite")
    return scales


# Reading an untrusted file


class VectorFile:
    """An open file whose record and header have been checked; the entries of its tensors have not."""

    def __init__(self, name: str, file: Any, base: str | None, shapes: Shapes | None) -> None:
        record = _record(name, file.metadata())
        self.origin = _origin(name, record)
        self.shapes = _shapes(name, record)
        if base is not None:
            _check_base(name, self.origin, base)
        if shapes is not None:
            _check_shapes(name, self.shapes, shapes)
        self._name, self._file = name, file
        stored = set(file.keys())
        self._parts = {tensor: [p for p in PARTS if f"{p}/{tensor}" in stored] for tensor in self.shapes}
        named = {f"{part}/{tensor}" for tensor, parts in self._parts.items() for part in parts}
        if unknown := stored - named:
            raise TaskVectorError(f"{name}: contains a tensor that its record does not name: {one_line(min(unknown))}")
        for tensor, parts in self._parts.items():
            with self.reporting_damage(tensor):
                _check_encoding({part: self._declared(f"{part}/{tensor}") for part in parts}, self.shapes[tensor])

    def _declared(self, key: str) -> tuple[str, tuple[int, ...]]:
        part = self._file.get_slice(key)
        return part.get_dtype(), tuple(part.get_shape())

    def parts(self, tensor: str) -> dict[str, NDArray[Any]]:
        """The stored parts of a tensor, by name; empty if all its entries are zero."""
        with self.reporting_damage(tensor):
            return {part: self._file.get_tensor(f"{part}/{tensor}") for part in self._parts[tensor]}

    @contextmanager
    def reporting_damage(self, tensor: str) -> Iterator[None]:
        """Turns errors about a tensor into one that names the file and the tensor.

        Raises:
            TaskVectorError: the block raised an error, so the tensor is damaged.
        """
        try:
            yield
        except (SafetensorError, ValueError, TypeError) as error:
            if isinstance(error, TaskVectorError):
                raise
            reason = one_line(str(error))
            raise TaskVectorError(
                f"{self._name}: {one_line(tensor)} is damaged: {reason}; nothing was changed"
            ) from None


@contextmanager
def open_vector_file(
    path: Path, name: str = "", base: str | None = None, shapes: Shapes | None = None
) -> Iterator[VectorFile]:
    name = name or str(path)
    try:
        _check_header_size(path, name)
        file = safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise TaskVectorError(f"{name}: there is no such file") from None
    except MemoryError:  # safetensors maps the whole file, whatever its content
        raise TaskVectorError(f"{name}: is too large for this machine's memory; nothing was changed") from None
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, TaskVectorError):
            raise
        reason = one_line(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
        raise TaskVectorError(
            f"{name}: is not a task vector, or is truncated ({reason}); nothing was changed"
        ) from error
    with file as entered:
        yield VectorFile(name, entered, base, shapes)


def _check_header_size(path: Path, name: str) -> None:
    """Checks the header size, with which a safetensors file begins: parsing takes a multiple of it in memory."""
    if path.exists() and not path.is_file():
        raise TaskVectorError(f"{name}: is not a file")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MAX_HEADER_BYTES < size <= path.stat().st_size:
        raise TaskVectorError(f"{name}: its header has {size} bytes, more than that of any supported model")


def _record(name: str, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    if RECORD not in (metadata or {}):
        raise TaskVectorError(f"{name}: safetensors, but not a task vector of asr-edge")
    try:
        record = parse_json((metadata or {})[RECORD], strict=True)
    except ValueError as error:
        raise TaskVectorError(f"{name}: its record cannot be read ({one_line(str(error))})") from None
    if not isinstance(record, dict):
        raise TaskVectorError(f"{name}: its record is not a JSON object")
    version = record.get("format_version")
    if not is_whole_number(version) or version != FORMAT_VERSION:
        raise TaskVectorError(f"{name}: format version {shown(version)}; this asr-edge reads version {FORMAT_VERSION}")
    return record


def _origin(name: str, record: Mapping[str, Any]) -> Origin:
    kinds: Mapping[str, Callable[[Any], bool]] = {
        "scores": is_scores,
        "utterances": is_whole_number,
        "seconds": is_number,
        "density": is_number,
    }
    names = [one.name for one in fields(Origin)]
    wrong = [
        one
        for one in names
        if one not in record or not kinds.get(one, lambda value: isinstance(value, str))(record[one])
    ]
    if wrong:
        raise TaskVectorError(f"{name}: missing from its record, or of the wrong type: {', '.join(wrong)}")
    return Origin(**{**{one: record[one] for one in names}, "scores": translated(record["scores"], SCORES)})


def _shapes(name: str, record: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes = record.get("shapes")
    if not isinstance(shapes, dict) or not all(
        isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and all(is_whole_number(n) for n in shape)
        for shape in shapes.values()
    ):
        raise TaskVectorError(f"{name}: its record has no shapes, or an invalid one")
    # Sizes of 0 count as 1, because numpy also refuses a shape with a 0 if the product of its other sizes overflows.
    if sum(math.prod(n or 1 for n in shape) for shape in shapes.values()) > MAX_ENTRIES:
        raise TaskVectorError(f"{name}: declares more entries than any supported model has")
    return {tensor: tuple(shape) for tensor, shape in shapes.items()}


def check_fit(name: str, origin: Origin, found: Shapes, base: str, shapes: Shapes) -> None:
    """Checks base and shapes of a vector against a model.

    Raises:
        WrongBaseError, TaskVectorError: as `TaskVector.check`.
    """
    _check_base(name, origin, base)
    _check_shapes(name, found, shapes)


def _check_base(name: str, origin: Origin, base: str) -> None:
    if origin.base != base:
        raise WrongBaseError(
            f"{name}: taken from base {one_line(origin.base[:8])}, but this device runs {base[:8]}; nothing was "
            f"merged. Ask for a vector taken from {base[:8]}, or use --model with that base"
        )


def _check_shapes(name: str, found: Shapes, shapes: Shapes) -> None:
    problems = [f"{one_line(tensor)} is missing" for tensor in shapes.keys() - found.keys()]
    problems += [f"{one_line(tensor)} is unknown" for tensor in found.keys() - shapes.keys()]
    problems += [
        f"{one_line(tensor)} has shape {one_line(str(found[tensor]))}, expected {shape}"
        for tensor, shape in shapes.items()
        if tensor in found and found[tensor] != shape
    ]
    if problems:
        raise TaskVectorError(f"{name}: does not fit the model: {'; '.join(sorted(problems)[:3])}")
