"""Baked files: the runnable graphs of a bundle.

They are cached in the data folder, or temporary for a candidate: an edit that the gate has not judged yet.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from device_app.paths import CANDIDATE, CANDIDATES_LOCK, data_folder
from editing.errors import StorageError
from editing.files import sha256, write_atomically
from editing.json_text import read_json
from editing.lock import locked
from editing.method import Tensors
from editing.privacy import make_folder
from export.bundle import BAKE_VERSION, Bundle, Precision

RECORD = "baked.json"  # SHA-256 of each baked file by its name; written last, so a folder without it is incomplete


def baked(bundle: Bundle, precision: Precision = "int8", on_bake: Callable[[], None] | None = None) -> Path:
    """Returns the folder with the runnable graphs of a bundle; bakes them if necessary.

    An exported bundle includes its baked files. Other bundles are baked once, into a folder of the data
    folder whose name is a hash of all inputs. The hashes of all files are checked.

    Args:
        bundle: the model.
        precision: "int8" or "fp32".
        on_bake: called before baking, which takes a second or two.

    Raises:
        BundleError: a file of the bundle is missing or damaged, or it has neither baked files nor weights and graphs.
        StorageError: the data folder cannot be written.
    """
    bundle.check()
    if any(name.startswith(f"{precision}/") for name in bundle.files):  # an exported bundle
        return bundle.folder / precision
    folder = baked_folder(bundle, precision)
    if not _is_intact(folder):
        from export.bake import bake  # imports onnx, which is slow and only needed here

        if on_bake is not None:
            on_bake()
        weights = bundle.weights()
        try:
            written = bake(bundle, weights, precision, folder)
            record = {path.name: sha256(path) for path in written}
            write_atomically(folder / RECORD, json.dumps(record, indent=2).encode())
        except StorageError as error:
            raise StorageError(f"{error}, or set ASR_EDGE_HOME to another folder") from error
    return folder


def baked_folder(bundle: Bundle, precision: Precision = "int8") -> Path:
    """The folder into which `baked` writes the graphs of a bundle; it may not exist.

    Raises:
        BundleError: the bundle has nothing to bake.
    """
    identity = json.dumps([BAKE_VERSION, precision, *bundle.bake_inputs], sort_keys=True)
    return data_folder() / "baked" / hashlib.sha256(identity.encode()).hexdigest()[:16]


@contextmanager
def temporarily_baked(bundle: Bundle, weights: Tensors) -> Iterator[Path]:
    """Bakes weights into a temporary folder of int8 files; also removes such folders of killed processes.

    Raises:
        StorageError: the data folder is full or cannot be written.
    """
    from export.bake import bake

    with ExitStack() as stack:
        try:
            make_folder(data_folder())
            with locked(data_folder() / CANDIDATES_LOCK, wait=True):
                _remove_abandoned()
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data_folder(), prefix=CANDIDATE)))
                stack.enter_context(_in_use(folder))
            bake(bundle, weights, "int8", folder)
        except StorageError:  # an OSError too
            raise
        except OSError as error:
            raise StorageError(f"{data_folder()}: cannot be written ({error.strerror or error})") from error
        yield folder


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Locks a folder until the block is left or the process ends.

    Raises:
        BlockedError: another process has locked it.
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
    """Folders with baked files of candidates that no process uses; `temporarily_baked` removes them."""
    found: list[Path] = []
    folders = sorted(data_folder().glob(f"{CANDIDATE}*/"))
    if folders:  # otherwise a look at a data folder would write a lock file
        with suppress(OSError), locked(data_folder() / CANDIDATES_LOCK, wait=True):
            for folder in folders:
                with suppress(OSError), _in_use(folder):  # BlockedError, an OSError: a process uses it
                    found.append(folder)
    return found


def baked_damage(folder: Path) -> str:
    """The damage to files that `baked` wrote to this folder, in one line; empty if there is none."""
    if not (folder / RECORD).is_file():
        return "baking was interrupted"
    return "" if _is_intact(folder) else "files are missing or damaged"


def _is_intact(folder: Path) -> bool:
    """Whether baking into this folder was completed and its files are unchanged."""
    try:
        record = read_json(folder / RECORD)
        # A name outside the folder is not a baked file, and may be a device that can be read forever.
        return bool(record) and all(
            Path(name).name == name and sha256(folder / name) == digest for name, digest in record.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
