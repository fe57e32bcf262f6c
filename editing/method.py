"""Merge methods: the `Method` type, its registration, and shared checks and helpers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.layers import Coefficient

Tensors = Mapping[str, NDArray[np.float32]]
Function = Callable[..., dict[str, NDArray[np.float32]]]

THREADS = 2  # numpy releases the GIL while it computes; with more threads, memory bandwidth is the limit


@dataclass(frozen=True)
class Method:
    """A merge method. Call it with task vectors and settings to get the merged vector.

    Attributes:
        name: its name on the command line and in the ledger.
        paper: where it was published.
        oracle: the implementation that tests compare it with.
        function: the mathematics.
        settings: keywords and their defaults, in order; "lam" is the scaling coefficient.
    """

    name: str
    paper: str
    oracle: str
    function: Function
    settings: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(self, vectors: Sequence[Tensors], **settings: Any) -> dict[str, NDArray[np.float32]]:
        """Merges task vectors into one and applies the scaling coefficient.

        Args:
            vectors: one or more mappings of name to float32 array, with the same names and shapes.
            settings: keywords of `self.settings`.

        Raises:
            ValueError: there is no vector, the vectors differ in names or shapes, an entry is not
                finite, or a setting is unknown or out of range.
        """
        self._check_settings(settings)
        _check_vectors(vectors)
        return self.function(vectors, **settings)

    def check(self, settings: Mapping[str, Any], vectors: int = 2) -> None:
        """Checks settings before the task vectors exist, by merging vectors of two entries.

        Args:
            settings: keywords of `self.settings`.
            vectors: number of vectors to merge; some methods need two.

        Raises:
            ValueError: a setting is unknown or out of range, or the method cannot merge this number of vectors.
        """
        self._check_settings(settings)
        self.function([{"probe": np.array([1.0, -1.0], np.float32)}] * vectors, **settings)

    def parse(self, name: str, text: str) -> float | int | str:
        """Converts the text of a setting to the type of its default.

        Raises:
            ValueError: the method has no such setting, or the text cannot be converted.
        """
        self._check_names([name])
        kind = type(self.settings[name])
        try:
            value: float | int | str = kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise ValueError(f"{self.name}: {name} is {text!r}; expected {expected}") from None
        return value

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        self._check_names(settings)
        _check_ranges(settings)

    def _check_names(self, names: Iterable[str]) -> None:
        if unknown := set(names) - self.settings.keys():
            raise ValueError(f"{self.name} has no {', '.join(sorted(unknown))}; it has {', '.join(self.settings)}")


registered: dict[str, Method] = {}  # `editing.registry` fills it by importing every module of `editing.methods`


def merge_method(name: str, *, paper: str, oracle: str) -> Callable[[Function], Function]:
    """Registers a function as a merge method. It takes the vectors first, then settings as keywords with defaults."""

    def register(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        registered[name] = Method(name, paper, oracle, function, {p.name: p.default for p in parameters})
        return function

    return register


def for_each_tensor(
    vectors: Sequence[Tensors], merge: Callable[[str, list[NDArray[np.float32]]], NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Calls `merge` with each name and the tensor of that name in every vector; in threads, largest first."""
    names = sorted(vectors[0], key=lambda name: -vectors[0][name].size)
    with ThreadPoolExecutor(THREADS) as pool:
        merged = dict(zip(names, pool.map(lambda name: merge(name, [v[name] for v in vectors]), names), strict=True))
    return {name: merged[name] for name in vectors[0]}


def sum_tensors(tensors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The sum of tensors; allocates only the result."""
    total = tensors[0].copy()
    for tensor in tensors[1:]:
        total += tensor
    return total


def _check_vectors(vectors: Sequence[Tensors]) -> None:
    if not vectors:
        raise ValueError("there is nothing to merge")
    first = vectors[0]
    for number, vector in enumerate(vectors, 1):
        if different := sorted(vector.keys() ^ first.keys()):
            raise ValueError(f"vector {number} differs from the first in its tensors: {', '.join(different[:5])}")
        for name, tensor in vector.items():
            if tensor.shape != first[name].shape:
                raise ValueError(f"vector {number}: {name} has shape {tensor.shape}, in the first {first[name].shape}")
            if tensor.dtype != np.float32:
                raise ValueError(f"vector {number}: {name} is {tensor.dtype}, expected float32")
        with ThreadPoolExecutor(THREADS) as pool:
            for name, finite in zip(vector, pool.map(is_finite, vector.values()), strict=True):
                if not finite:
                    raise ValueError(f"vector {number}: {name} has entries that are not finite")


def is_finite(tensor: NDArray[np.float32]) -> bool:
    """Whether no entry is NaN or infinite.

    Computes the sum first, because it needs no extra memory. Checks every entry only if the sum is
    not finite, because a sum of finite numbers can overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(tensor.sum(dtype=np.float32))) or bool(np.isfinite(tensor).all())


def _check_ranges(settings: Mapping[str, Any]) -> None:
    lam: Coefficient = settings.get("lam", 1.0)
    if not all(np.isfinite(value) for value in (lam.values() if isinstance(lam, Mapping) else [lam])):
        raise ValueError(f"lambda is {lam}; expected a number, or one by part of the parameters' names")
    density = settings.get("density", 1.0)
    if not 0 < density <= 1:
        raise ValueError(f"a density of {density}; it is the fraction kept, above 0 and at most 1")
    if settings.get("scope", "tensor") not in ("tensor", "global"):
        raise ValueError(f"scope {settings['scope']!r}; expected 'tensor' or 'global'")
