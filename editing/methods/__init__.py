"""Merge methods, one file each. `METHODS` finds every file in this folder and imports it on first use."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache

from editing.method import Method, registered


@cache
def _load() -> Mapping[str, Method]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return registered


class _Methods(Mapping[str, Method]):
    """The methods of this folder by name."""

    def __getitem__(self, name: str) -> Method:
        if name not in _load():
            raise KeyError(f"there is no merge method {name!r}; there are {', '.join(self)}")
        return _load()[name]

    def __contains__(self, name: object) -> bool:
        return name in _load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_load()))

    def __len__(self) -> int:
        return len(_load())


METHODS: Mapping[str, Method] = _Methods()
"""Every merge method by name."""
