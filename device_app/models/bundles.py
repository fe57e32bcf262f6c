"""Where models are: the embedded bundle, bundles by name or folder, and their baked files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from device_app.paths import ASSETS, CANDIDATE, data_folder
from editing.errors import BundleError, StorageError
from editing.files import make_folder, sha256, write_atomically
from editing.json_text import read_json
from editing.method import Tensors
from export.bundle import BAKE_VERSION, WEIGHTS, Bundle, Precision

EMBEDDED = ASSETS / "moonshine-tiny"
EMBEDDED_NAME = "embedded"
RECORD = "baked.json"


def embedded_bundle() -> Bundle:
    """The model that comes with asr-edge: Moonshine Tiny, English, MIT.

    Raises:
        BundleError: the installation is incomplete.
    """
    return Bundle.open(EMBEDDED)


def models_folder() -> Path:
    return data_folder() / "models"


def pulled() -> dict[str, Path]:
    """The models that `asr-edge model pull` has installed: name -> folder."""
    return {path.parent.name: path.parent for path in sorted(models_folder().glob("*/model.json"))}


def model_names() -> list[str]:
    """What `--model` takes by name."""
    return [EMBEDDED_NAME, *pulled()]


def installed() -> list[Bundle]:
    """The bundles of `model_names`, in its order."""
    return [embedded_bundle(), *(Bundle.open(folder) for folder in pulled().values())]


def find_base(weights_hash: str) -> Bundle | None:
    """The installed bundle with these master weights (SHA-256), if there is one; damaged bundles are passed over."""
    return next((bundle for bundle in installed_bases() if bundle.weights_hash == weights_hash), None)


def installed_bases() -> list[Bundle]:
    """The installed bundles that have master weights; damaged bundles are passed over."""
    found = []
    for folder in (EMBEDDED, *pulled().values()):
        with suppress(BundleError):
            bundle = Bundle.open(folder)
            if WEIGHTS in bundle.files:
                found.append(bundle)
    return found


def find_bundle(model: str | None) -> Bundle:
    """The bundle of an installed model's name, or in a folder; None is the embedded one.

    Raises:
        BundleError: there is none.
    """
    if model is None or model == EMBEDDED_NAME:
        return embedded_bundle()
    folder = pulled().get(model, Path(model))
    if not folder.is_dir():
        names = ", ".join(model_names())
        raise BundleError(f"{model}: neither an installed model ({names}) nor a folder with a bundle")
    return Bundle.open(folder)


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
        BlockingIOError: another process holds it.
    """
    path = folder / "in-use"
    path.touch(0o600)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
