"""A deployable bundle: baked graphs, tokenizer and licence, without the master weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

from editing.files import folder_in_one_step
from export.bake import bake
from export.bundle import GRAPHS, WEIGHTS, Bundle, Precision, write_record


def export_bundle(bundle: Bundle, precision: Precision, out: Path) -> Bundle:
    """Bakes the bundle into a new folder from which `Transcriber` runs as it is.

    Raises:
        BadInputError: `out` is in use.
        BundleError: the bundle is damaged or holds no weights to bake.
        StorageError: `out` cannot be written; it is left as it was.
    """
    bundle.check()
    weights = bundle.weights()
    made_here = {WEIGHTS, GRAPHS, "fp32", "int8"}
    with folder_in_one_step(out) as folder:
        bake(bundle, weights, precision, folder / precision)
        for name in bundle.files:
            if PurePosixPath(name).parts[0] not in made_here:
                shutil.copyfile(bundle.folder / name, folder / name)
        write_record(replace(bundle, folder=folder))
    return Bundle.open(out)
