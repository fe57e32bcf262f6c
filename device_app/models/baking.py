"""Baked files: the runnable graphs of a bundle, made once and kept, or made for a moment to try candidate weights."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from device_app.paths import CANDIDATE, data_folder
from editing.errors import StorageError
from editing.files import locked, make_folder, sha256, write_atomically
from editing.json_text import read_json
from editing.method import Tensors
from export.bundle import BAKE_VERSION, Bundle, Precision

RECORD = "baked.json"


def baked(bundle: Bundle, precision: Precision = "int8", on_bake: Callable[[], None] | None = None) -> Path:
    """The folder with the bundle's runnable graphs, baked now if they are not there yet.

    A bundle that was exported brings its own; others are baked once into the data folder, under
    a name made of everything the result depends on. All files are compared with their hashes.

    Args:
        bundle: the model.
        precision: "int8" or "fp32".
        on_bake: called before a bake, which takes a second or two.

    Raises:
        BundleError: a file of the bundle is missing or damaged.
        StorageError: the data folder cannot be written.
    """
    bundle.check()
    if any(name.startswith(f"{precision}/") for name in bundle.files):
        return bundle.folder / precision
    folder = baked_folder(bundle, precision)
    if not _is_whole(folder):
        from export.bake import bake  # brings in onnx, which a device needs only here

        if on_bake is not None:
            on_bake()
        try:
            written = bake(bundle, bundle.weights(), precision, folder)
            record = {path.name: sha256(path) for path in written}
            write_atomically(folder / RECORD, json.dumps(record, indent=2).encode())
        except StorageError as error:
            raise StorageError(f"{error}, or name another folder with ASR_EDGE_HOME") from error
    return folder


def baked_folder(bundle: Bundle, precision: Precision = "int8") -> Path:
    """Where `baked` puts a bundle's graphs, whether they are there or not.

    Raises:
        BundleError: the bundle has nothing to bake.
    """
    identity = json.dumps([BAKE_VERSION, precision, *bundle.recipe], sort_keys=True)
    return data_folder() / "baked" / hashlib.sha256(identity.encode()).hexdigest()[:16]


@contextmanager
def temporarily_baked(bundle: Bundle, weights: Tensors) -> Iterator[Path]:
    """A folder with int8 files of these weights, for as long as it is needed; removes what killed processes left.

    Raises:
        StorageError: the data folder is full or cannot be written.
    """
    from export.bake import bake

    try:
        make_folder(data_folder())
        _remove_abandoned()
        with tempfile.TemporaryDirectory(dir=data_folder(), prefix=CANDIDATE) as name, _in_use(Path(name)):
            bake(bundle, weights, "int8", Path(name))
            yield Path(name)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{data_folder()}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Holds a folder for this process: no other can, until this one leaves or dies.

    Raises:
        BlockedError: another process holds it.
        OSError: the folder is missing or cannot be written.
    """
    lock = folder / "in-use"
    lock.touch(0o600)
    with locked(lock):
        yield


def _remove_abandoned() -> None:
    for folder in data_folder().glob(f"{CANDIDATE}*"):
        with suppress(OSError), _in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def abandoned_candidates() -> list[Path]:
    """Folders with a candidate's baked files that no process holds any more; the next candidate's bake removes them."""
    found = []
    for folder in sorted(data_folder().glob(f"{CANDIDATE}*/")):
        with suppress(OSError), _in_use(folder):
            found.append(folder)
    return found


def damage_of_baked(folder: Path) -> str:
    """Why the files that `baked` put into this folder cannot be used, one line; empty if they can."""
    if not (folder / RECORD).is_file():
        return "their baking did not come to its end"
    return "" if _is_whole(folder) else "some are missing or damaged"


def _is_whole(folder: Path) -> bool:
    """Whether a bake into this folder came to its end and its bytes are as they were."""
    try:
        record = read_json(folder / RECORD)
        # A name that leads out of the folder is no file of a bake, and might be one that never ends.
        return bool(record) and all(
            Path(name).name == name and sha256(folder / name) == digest for name, digest in record.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
