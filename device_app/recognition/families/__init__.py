"""Model families: one file each, found by name in this folder and nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol

from device_app.audio.samples import Samples
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Recognition
from editing.errors import BundleError
from export.bundle import Bundle


class Recogniser(Protocol):
    """A loaded model. Calls may come from several threads."""

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        """Recognises one segment of speech.

        Args:
            audio: (samples,) at the bundle's sampling rate.
            is_draft: whether a less accurate result will do that is there sooner, as for a partial text.
        """
        ...


def check(bundle: Bundle) -> None:
    """
    Raises:
        BundleError: no family of the bundle's name is known here.
    """
    known = sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))
    if bundle.family not in known:
        raise BundleError(
            f"{bundle.folder}: a model of the family {bundle.family!r}; this asr-edge runs {', '.join(known)}"
        )


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> Recogniser:
    """The recogniser for this bundle, from the folder of its baked graphs.

    Args:
        bundle: the model.
        baked: the folder.
        threads: of the CPU.
        options: of decoding.

    Raises:
        BadInputError: the family cannot honour one of the options.
        BundleError: no family of that name is known here, or a file is damaged.
    """
    check(bundle)
    module = importlib.import_module(f"{__name__}.{bundle.family.replace('-', '_')}")
    recogniser: Recogniser = module.load(bundle, baked, threads, options)
    return recogniser
