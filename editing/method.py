"""Merge methods: the `Method` type, its registration, and shared checks and helpers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from editing.errors import BadInputError, one_line
from editing.layers import Coefficient
from editing.ranges import Range, range_of
from editing.sparsify import DENSITY

ANY_NUMBER = Range(-sys.float_info.max, sys.float_info.max)

# Types of settings. A method annotates its keywords with them; the checks and the command line read the annotations.
# Lambda is usually 0.2 to 1; a negative one subtracts the vectors (task negation, arXiv 2212.04089).
Lambda = Annotated[Coefficient, Range(-10, 10)]
Density = Annotated[float, DENSITY]
Seed = Annotated[int, Range(0, 2**32 - 1, is_whole=True)]

Tensors = Mapping[str, NDArray[np.float32]]
Function = Callable[..., dict[str, NDArray[np.float32]]]  # of a merge method; see `merge_method`

THREADS = 2  # numpy releases the GIL while it computes; with more threads, memory bandwidth is the limit


@dataclass(frozen=True)
class Setting:
    """A setting of a merge method, from the annotation of its keyword.

    Attributes:
        default: its default value.
        limits: the limits of the value, if it is a number.
        choices: the allowed words, if the value is a word; empty for numbers.
        is_by_part: whether it may differ by part of the parameter names; see `editing.layers.Coefficient`.
    """

    default: float | str
    limits: Range = ANY_NUMBER
    choices: Sequence[str] = ()
    is_by_part: bool = False

    @property
    def expected(self) -> str:
        """The values that are accepted, in words."""
        return f"one of {', '.join(self.choices)}" if self.choices else self.limits.expected

    def parse(self, text: str) -> float | int | str:
        """Converts a text to the type of this setting, without checking the range.

        Raises:
            ValueError: it is not a number.
        """
        return text if self.choices else int(text) if self.limits.is_whole else float(text)

    def check(self, name: str, value: object) -> None:
        """Checks a value.

        Args:
            name: the name of the setting, for the message.
            value: as the caller gave it.

        Raises:
            BadInputError: the value is of another type, out of range, or not one of the choices.
        """
        if self.is_by_part and isinstance(value, Mapping):
            if not value or not all(isinstance(part, str) for part in value):
                raise BadInputError(f"{name} is {one_line(repr(value), 60)}; expected numbers by part of the names")
            for part, number in value.items():
                self.limits.check(f"{name} of {part!r}", number)
        elif not self.choices:
            self.limits.check(name, value)
        elif value not in self.choices:
            raise BadInputError(f"{name} is {one_line(repr(value), 60)}; expected {self.expected}")


@dataclass(frozen=True)
class Method:
    """A merge method. Call it with task vectors and settings to get the merged vector.

    Attributes:
        name: its name on the command line and in the ledger.
        paper: where it was published.
        oracle: the implementation that tests compare it with.
        function: computes the merged vector, without the checks.
        details: each keyword's default and the values that it may have; `settings` has only the defaults.
    """

    name: str
    paper: str
    oracle: str
    function: Function
    details: Mapping[str, Setting]

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords and their defaults, in order; "lam" is the scaling coefficient."""
        return {name: setting.default for name, setting in self.details.items()}

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(self, vectors: Sequence[Tensors], **settings: Any) -> dict[str, NDArray[np.float32]]:
        """Merges task vectors into one and applies the scaling coefficient.

        Args:
            vectors: one or more mappings of name to float32 array, with the same names and shapes.
            settings: keywords of `self.settings`.

        Returns:
            The merged vector, which is added to the weights as it is: the scaling coefficient is applied.

        Raises:
            BadInputError: there is no vector, the vectors differ in names or shapes, an entry is not
                finite, or a setting is unknown or out of range. It is a ValueError.
        """
        self._check_settings(settings)
        _check_vectors(vectors)
        return self.function(vectors, **settings)

    def check(self, settings: Mapping[str, Any], vectors: int = 2) -> None:
        """Checks settings before the task vectors exist.

        Args:
            settings: keywords of `self.settings`.
            vectors: number of vectors to merge; some methods need two.

        Raises:
            BadInputError: a setting is unknown or out of range, or the method cannot merge this number of vectors.
        """
        self._check_settings(settings)
        # What a function checks itself: the number of vectors, and settings that depend on each other.
        example = {"weight": np.array([1.0, -1.0], np.float32)}
        self.function([example] * vectors, **{**settings, "lam": 1.0})  # a lambda by part would not fit the example

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        if unknown := sorted(settings.keys() - self.details.keys()):
            raise BadInputError(f"{self.name} has no {', '.join(unknown)}; it has {', '.join(self.details)}")
        for name, value in settings.items():
            self.details[name].check(name, value)


registered: dict[str, Method] = {}  # `editing.methods` fills it by importing every module of `editing.methods`


def merge_method(name: str, *, paper: str, oracle: str) -> Callable[[Function], Function]:
    """Registers a function as a merge method. It takes the vectors first, then settings as keywords with defaults.

    Args:
        name: of the method, as `METHODS` and the command line have it.
        paper: see `Method`.
        oracle: see `Method`.
    """

    def register(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        hints = get_type_hints(function, include_extras=True)
        details = {one.name: _setting(one.default, hints[one.name]) for one in parameters}
        registered[name] = Method(name, paper, oracle, function, details)
        return function

    return register


def _setting(default: Any, hint: Any) -> Setting:
    """The setting of a keyword: `Literal` lists the choices of a word, `Annotated` gives the range of a number."""
    if get_origin(hint) is Literal:
        return Setting(default, choices=get_args(hint))
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    limits = range_of(hint) or replace(ANY_NUMBER, is_whole=kind is int)
    return Setting(default, limits, is_by_part=kind == Coefficient)


def for_each_tensor(
    vectors: Sequence[Tensors], merge: Callable[[str, list[NDArray[np.float32]]], NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Calls `merge` with each name and the tensors of that name, one of each vector; in threads, the largest first.

    `merge` returns a tensor of the same shape. The result has the merged tensors by name, in the order of the vectors.
    """
    names = sorted(vectors[0], key=lambda name: -vectors[0][name].size)
    with ThreadPoolExecutor(THREADS) as pool:
        merged = dict(zip(names, pool.map(lambda name: merge(name, [v[name] for v in vectors]), names), strict=True))
    return {name: merged[name] for name in vectors[0]}


def sum_tensors(tensors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The sum of one or more tensors of the same shape; allocates only the result."""
    total = tensors[0].copy()
    for tensor in tensors[1:]:
        total += tensor
    return total


def _check_vectors(vectors: Any) -> None:
    if isinstance(vectors, Mapping) or not isinstance(vectors, Sequence):
        raise BadInputError(
            f"the vectors are a {type(vectors).__name__}; expected a list of mappings of name to float32 array"
        )
    if not vectors:
        raise BadInputError("there is nothing to merge")
    for number, vector in enumerate(vectors, 1):
        if not isinstance(vector, Mapping):
            hint = "; its attribute tensors is one" if hasattr(vector, "tensors") else ""
            raise BadInputError(
                f"vector {number} is a {type(vector).__name__}; expected a mapping of name to float32 array{hint}"
            )
        _check_vector(number, vector, vectors[0])


def _check_vector(number: int, vector: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    if not vector:
        raise BadInputError(f"vector {number} has no tensors")
    if different := sorted(map(str, vector.keys() ^ first.keys())):
        raise BadInputError(f"vector {number} differs from the first in its tensors: {', '.join(different[:5])}")
    for name, tensor in vector.items():
        if not isinstance(tensor, np.ndarray):
            raise BadInputError(f"vector {number}: {name} is a {type(tensor).__name__}, expected a float32 array")
        if tensor.shape != first[name].shape:
            raise BadInputError(f"vector {number}: {name} has shape {tensor.shape}, in the first {first[name].shape}")
        if tensor.dtype != np.float32:
            raise BadInputError(f"vector {number}: {name} is {tensor.dtype}, expected float32")
    with ThreadPoolExecutor(THREADS) as pool:
        for name, finite in zip(vector, pool.map(is_finite, vector.values()), strict=True):
            if not finite:
                raise BadInputError(f"vector {number}: {name} has entries that are not finite")


def is_finite(tensor: NDArray[np.float32]) -> bool:
    """Whether no entry of a tensor of any shape is NaN or infinite.

    Computes the sum first, because it needs no extra memory. Checks every entry only if the sum is
    not finite, because a sum of finite numbers can overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(tensor.sum(dtype=np.float32))) or bool(np.isfinite(tensor).all())
