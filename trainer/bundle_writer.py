"""Writing the bundle of a model that is here in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch

from editing.files import folder_in_one_step
from export.bundle import LICENCE, TOKENIZER, WEIGHTS, Bundle, write_record
from export.weights import write_weights
from trainer import families


def write_bundle(
    record: Bundle,
    tokenizer: tokenizers.Tokenizer,
    model: torch.nn.Module,
    export: Callable[[Any, Path], None],
    licence_text: str,
) -> Bundle:
    """Writes tokenizer, weights, graphs and licence, and last what the record says; all of it or nothing.

    Args:
        record: the bundle, in the folder where it is to be: a new one.
        tokenizer: its.
        model: its.
        export: writes the graphs of such a model into a bundle's folder.
        licence_text: of the weights.

    Raises:
        BadInputError: the folder is in use.
        StorageError: it cannot be written.
    """
    with folder_in_one_step(record.folder) as folder:
        tokenizer.save(str(folder / TOKENIZER))
        write_weights(folder / WEIGHTS, families.arrays(model))
        export(model, folder)
        (folder / LICENCE).write_text(licence_text, "utf-8")
        write_record(replace(record, folder=folder))
    return Bundle.open(record.folder)
