"""Merge methods by name, found by importing every module of `editing.methods`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache

from editing import methods
from editing.method import Method, registered


@cache
def _load() -> Mapping[str, Method]:
    for module in pkgutil.iter_modules(methods.__path__):
        importlib.import_module(f"{methods.__name__}.{module.name}")
    return registered


class _Methods(Mapping[str, Method]):
    """The methods of `editing.methods`, imported on first use."""

    def __getitem__(self, name: str) -> Method:
        return _load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_load()))

    def __len__(self) -> int:
        return len(_load())


METHODS: Mapping[str, Method] = _Methods()
"""Every merge method by name."""
