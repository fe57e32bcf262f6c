"""Lifelong-learning methods, one module per kind. Modules in this package are discovered automatically."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from trainer.lifelong.method import Method, registered


@cache
def find_methods() -> Mapping[str, Method]:
    """All methods by name, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(registered.items()))
