"""Graphs that the tests have exported before: torch takes half a minute to export even a tiny model.

A graph is stored under a hash of everything that it depends on: the module's class, the names and shapes of its
weights, the arguments of the export, the modules of our code that define it, and the versions of the libraries. Where
one of them differs, the graph is exported anew, and the run's summary says so. `pytest --update-golden` writes the
graphs that are missing into `tests/graphs/`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import lzma
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from editing.files import write_atomically

FOLDER = Path(__file__).parent / "graphs"
OURS = ("export.", "trainer.")
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

exported: list[str] = []  # names of the modules whose graphs this process has exported anew


@contextmanager
def reused(update: bool) -> Iterator[None]:
    """Takes graphs from `tests/graphs/` instead of exporting them."""
    from export.graphs import weightless

    original = weightless.export_graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            weightless, "export_graph", lambda module, path, **how: _export(original, module, path, update, **how)
        )
        yield


def _export(original: Callable[..., None], module: Any, path: Path, update: bool, **how: Any) -> None:
    stored = FOLDER / f"{_key(module, how)}.onnx.xz"
    if stored.is_file():
        write_atomically(path, lzma.decompress(stored.read_bytes()))
        return
    original(module, path, **how)
    exported.append(type(module).__name__)
    if update:
        FOLDER.mkdir(exist_ok=True)
        stored.write_bytes(lzma.compress(path.read_bytes(), preset=9))


def _key(module: Any, how: dict[str, Any]) -> str:
    parts = [type(module).__qualname__, *(version(library) for library in LIBRARIES)]
    parts += [f"{name} {tuple(tensor.shape)}" for name, tensor in module.state_dict().items()]
    parts += [str(_shapes(how["args"])), str(how["inputs"]), str(how["outputs"]), _configuration(module)]
    parts += [_code(one) for one in _sources(module)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _code(path: Path) -> str:
    """A Python file without comments, docstrings and layout."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _sources(module: Any) -> list[Path]:
    """The files of our code that decide what the graph computes: of its classes, and of what these modules import."""
    from export.graphs import weightless

    def is_ours(thing: Any) -> bool:
        return str(getattr(thing, "__module__", "")).startswith(OURS)

    classes = {type(part).__module__ for part in module.modules() if is_ours(type(part))}
    imported = {thing.__module__ for name in classes for thing in vars(sys.modules[name]).values() if is_ours(thing)}
    graphs = {name for name in classes | imported if not name.startswith(("export.bundle", "trainer.families"))}
    return sorted({Path(str(sys.modules[name].__file__)) for name in {*graphs, *classes, weightless.__name__}})


def _configuration(module: Any) -> str:
    """What transformers built the module and its parts from: constants of a graph may come from there."""
    found = [part.config.to_dict() for part in module.modules() if hasattr(part, "config")]
    return json.dumps([{**one, "_name_or_path": ""} for one in found], sort_keys=True, default=str)


def _shapes(arguments: Any) -> Any:
    if isinstance(arguments, (list, tuple)):
        return [_shapes(one) for one in arguments]
    return tuple(arguments.shape)
