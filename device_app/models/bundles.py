"""Where models are: the embedded bundle, installed bundles by name, and bundles in folders."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from device_app.paths import ASSETS, data_folder
from editing.errors import BundleError
from export.bundle import WEIGHTS, Bundle

EMBEDDED = ASSETS / "moonshine-tiny"
EMBEDDED_NAME = "embedded"


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
