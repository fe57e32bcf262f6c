"""Finds bundles: the embedded one, installed ones by name, and those in other folders."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from device_app.paths import ASSETS, data_folder
from editing.errors import BundleError, StorageError, one_line
from editing.files import cannot_read, write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder
from export.bundle import WEIGHTS, Bundle

EMBEDDED = ASSETS / "moonshine-tiny"
EMBEDDED_NAME = "embedded"
PUBLISHED = re.compile(r"moonshine-(tiny|base)(-[a-z]{2})?")  # models that `asr-edge model pull` installs by name
IN_USE = "model-in-use.json"  # in the data folder: the model of commands without --model


def embedded_bundle() -> Bundle:
    """The model that comes with asr-edge: Moonshine Tiny, English, MIT.

    Raises:
        BundleError: the installation is incomplete.
    """
    return Bundle.open(EMBEDDED)


def models_folder() -> Path:
    """The folder of the models that `asr-edge model pull` installed."""
    return data_folder() / "models"


def pulled_models() -> dict[str, Path]:
    """Models installed by `asr-edge model pull`: name -> folder. Hidden folders are installations that did not end."""
    return {path.parent.name: path.parent for path in sorted(models_folder().glob("[!.]*/model.json"))}


def model_names() -> list[str]:
    """The names that `--model` accepts."""
    return [EMBEDDED_NAME, *pulled_models()]


def installed() -> tuple[dict[str, Bundle], list[BundleError]]:
    """The installed models that can be opened, by name, and the errors of the others.

    The model in use is one of them, by its folder if `use` has chosen a folder.

    Raises:
        StorageError: which model is in use cannot be read.
    """
    folders = {EMBEDDED_NAME: EMBEDDED, **pulled_models()}
    in_use = model_in_use()
    folders.setdefault(in_use, Path(in_use))
    found: dict[str, Bundle] = {}
    damaged: list[BundleError] = []
    for name, folder in folders.items():
        try:
            found[name] = Bundle.open(folder)
        except BundleError as error:
            damaged.append(error)
    return found, damaged


def find_base(weights_hash: str) -> Bundle | None:
    """The installed bundle with these master weights (SHA-256), or None; ignores damaged bundles."""
    return next((bundle for bundle in installed_bases() if bundle.weights_hash == weights_hash), None)


def installed_bases() -> list[Bundle]:
    """The installed bundles that have master weights; ignores damaged bundles."""
    found = []
    for folder in (EMBEDDED, *pulled_models().values()):
        with suppress(BundleError):
            bundle = Bundle.open(folder)
            if WEIGHTS in bundle.files:
                found.append(bundle)
    return found


def find_bundle(model: str | Path | None) -> Bundle:
    """Finds a bundle by the name of an installed model or by its folder; None is the model in use.

    Raises:
        BundleError: there is no such bundle.
        StorageError: which model is in use cannot be read.
    """
    if model is None:
        model = model_in_use()
    if model == EMBEDDED_NAME:
        return embedded_bundle()
    folder = _folder_of(model)
    if folder is None or not folder.is_dir():
        shown = one_line(str(model) if model and isinstance(model, str | Path) else repr(model))
        names = ", ".join(model_names())
        is_published = PUBLISHED.fullmatch(shown)
        remedy = f"'asr-edge model pull {shown}' installs it" if is_published else "'asr-edge model list' shows all"
        raise BundleError(f"{shown}: neither an installed model ({names}) nor a folder with a bundle; {remedy}")
    return Bundle.open(folder)


def model_in_use() -> str:
    """The name or folder of the model that commands without `--model` use: by default the embedded one.

    Raises:
        StorageError: the file that records it is damaged or cannot be read.
    """
    path = data_folder() / IN_USE
    try:
        name = read_json(path)["model"]
        if not isinstance(name, str):
            raise TypeError("its model is not a text")
    except (FileNotFoundError, NotADirectoryError):
        return EMBEDDED_NAME
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: is damaged ({error}); 'asr-edge model use embedded' writes it anew") from error
    return name


def use(model: str) -> Bundle:
    """Makes a model the one that commands without `--model` use, until it is changed again.

    Args:
        model: the name of an installed model, or the folder of a bundle.

    Raises:
        BundleError: there is no such bundle.
        StorageError: the data folder cannot be written.
    """
    bundle = find_bundle(model)
    is_name = model in model_names()
    make_folder(data_folder())
    record = {"model": model if is_name else str(bundle.folder.resolve())}
    write_atomically(data_folder() / IN_USE, json.dumps(record).encode())
    return bundle


def _folder_of(model: object) -> Path | None:
    """The folder of an installed model or of another bundle; None if this is neither a name nor a path."""
    if isinstance(model, Path):
        return model
    if not isinstance(model, str) or not model or "\0" in model:
        return None
    return pulled_models().get(model, Path(model))
