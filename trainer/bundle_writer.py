"""Writes a torch model as a bundle."""

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
    verify: Callable[[Bundle], object] = lambda _bundle: None,
) -> Bundle:
    """Writes tokenizer, weights, graphs, licence and `model.json`. The folder appears complete or not at all.

    Args:
        record: the contents of `model.json`; its `folder` is the new folder to write.
        tokenizer: written to `tokenizer.json`.
        model: written to `weights.safetensors`.
        export: writes the ONNX graphs of `model` into a bundle's folder.
        licence_text: the licence of the weights.
        verify: called with the complete bundle before its folder appears; an exception of it discards the bundle.

    Raises:
        BadInputError: the folder exists and is not empty.
        StorageError: the folder cannot be written.
    """
    with folder_in_one_step(record.folder) as folder:
        tokenizer.save(str(folder / TOKENIZER))
        write_weights(folder / WEIGHTS, families.arrays(model))
        export(model, folder)
        (folder / LICENCE).write_text(licence_text, "utf-8")
        verify(write_record(replace(record, folder=folder)))
    return Bundle.open(record.folder)
