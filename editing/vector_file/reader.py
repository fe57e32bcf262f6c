"""Reading of an untrusted file, whose format `editing.vector_file` describes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from editing.errors import TaskVectorError, WrongBaseError, one_line
from editing.former_names import SCORES, translated
from editing.json_text import MAX_WHOLE_NUMBER, is_number, is_scores, is_whole_number, parse_json, shown
from editing.vector_file.encoding import check_encoding

FORMAT_VERSIONS = (1, 2)
RECORD = "asr-edge"  # the key of the record in the metadata of the file
PARTS = ("whole", "mask", "codes", "nibbles", "scale")

# Tensors of zeros take no space in a file, so the file size does not bound the declared size. No supported model is
# larger.
MAX_ENTRIES = 1 << 33
MAX_DIMENSIONS = 64  # numpy's
MAX_HEADER_BYTES = 8 << 20  # bytes; a model of 5000 tensors has 3 MB

NOT_FINITE = "it has entries that are not finite"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Origin:
    """Where a task vector comes from.

    Attributes:
        family: model family of its base.
        base: sha256 of the base bundle's weights file, in hexadecimal.
        domain: the domain that it was fine-tuned on.
        created: ISO 8601, UTC.
        utterances, seconds: size of the training set; seconds of audio.
        method, density: "trim" and the fraction of entries kept, if it was trimmed before it was stored.
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

    @property
    def fine_tuning(self) -> tuple[str, str, str, int, float] | None:
        """Identifies the fine-tuning that made the vector, which may have been trimmed since; None if it is unknown."""
        return (self.base, self.domain, self.created, self.utterances, self.seconds) if self.utterances else None


def training_size(origins: Sequence[Origin]) -> tuple[int, float]:
    """Utterances and seconds of audio of several training sets together, for the origin of a merge.

    A vector of someone else may claim any size. A sum beyond what a file may state would make the merge unreadable, so
    it is limited to that.
    """
    utterances = sum(origin.utterances for origin in origins)
    seconds = sum(origin.seconds for origin in origins)
    return min(utterances, MAX_WHOLE_NUMBER), min(seconds, float(MAX_WHOLE_NUMBER))


class VectorFile:
    """An open file whose record and header have been checked; the entries of its tensors have not.

    Attributes:
        origin: where the vector comes from.
        shapes: the shapes of its tensors, by parameter name.
    """

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
                check_encoding({part: self._declared(f"{part}/{tensor}") for part in parts}, self.shapes[tensor])

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
    """Opens the file of a task vector and checks its header, before it reads any tensor.

    Args:
        path: the file.
        name: name of the file in error messages; the path if empty.
        base: sha256 of the model's base weights; None accepts any base.
        shapes: shapes of the model's tensors; None accepts any.

    Raises:
        WrongBaseError: the vector was taken from another base.
        TaskVectorError: the file is missing, not a task vector, of a newer format version, or damaged; or a tensor is
            missing, unknown or of another shape than the model's.
    """
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
    if not is_whole_number(version) or version not in FORMAT_VERSIONS:
        known = " and ".join(map(str, FORMAT_VERSIONS))
        raise TaskVectorError(f"{name}: format version {shown(version)}; this asr-edge reads versions {known}")
    return record


def _origin(name: str, record: Mapping[str, Any]) -> Origin:
    kinds: Mapping[str, Callable[[Any], bool]] = {
        "scores": is_scores,
        "utterances": is_whole_number,
        "seconds": _is_duration,
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


def _is_duration(value: object) -> bool:
    return is_number(value) and 0 <= value <= MAX_WHOLE_NUMBER


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

    Args:
        name: name of the vector in error messages.
        origin: the origin of the vector.
        found: the shapes of the vector's tensors.
        base: sha256 of the model's base weights.
        shapes: the shapes of the model's tensors.

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
