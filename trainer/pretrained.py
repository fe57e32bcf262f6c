"""Loads checkpoints of transformers for the conversion, and refuses those whose weights are not complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from editing.errors import BadInputError, first_line

# Published wav2vec2 models lack this parameter, which only hides frames in a training of transformers.
NOT_NEEDED = "masked_spec_embed"


def load_pretrained(model_class: Any, folder: Path, source: str, what: str) -> Any:
    """Loads a model of transformers in 32 bits, from safetensors only.

    Where weights are missing, transformers takes random ones and prints a warning; here that is an error.

    Args:
        model_class: a class of transformers with `from_pretrained`.
        folder: the checkpoint.
        source: what the user named it, for errors.
        what: the kind of model, for errors, such as "a Whisper model".

    Raises:
        BadInputError: files are missing or damaged, or a weight is missing, has another shape than config.json says,
            or values that are not finite.
    """
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # safetensors and PyTorch raise errors of many types
        reason = first_line(error)
        if "ignore_mismatched_sizes" in reason:
            reason = "weights have other shapes than config.json says; download the files again"
        raise BadInputError(f"{source}: is not {what} with safetensors weights ({reason})") from error
    if missing := sorted(name for name in report["missing_keys"] if not name.endswith(NOT_NEEDED)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInputError(
            f"{source}: lacks weights of {what} ({missing[0]}{more}); download the files again, or name another model"
        )
    for name, weight in model.state_dict().items():
        if not bool(torch.isfinite(weight).all()):
            raise BadInputError(
                f"{source}: {name} contains values that are not finite; download the files again, or name another model"
            )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out the progress and the report of transformers, which has many lines; the error has one."""
    verbosity, had_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_progress:
            logging.enable_progress_bar()
