"""Model families: one file each, found by name in this folder and nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from device_app.audio.samples import Samples
from device_app.recognition.ngram import NGram
from editing.errors import BundleError
from export.bundle import Bundle

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's mark at the head of a word's first token


@dataclass(frozen=True)
class Word:
    """One word as it was heard.

    Attributes:
        text: with its punctuation.
        start_s, end_s: seconds from the start of the audio.
        confidence: 0 to 1, the geometric mean of its tokens' probabilities.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """What a family makes of one segment of speech; the text is its words joined by spaces."""

    text: str
    words: Sequence[Word]


class Recogniser(Protocol):
    """A loaded model. Calls may come from several threads."""

    def recognise(self, audio: Samples) -> Recognition:
        """Hears one segment of speech, (samples,) at the bundle's sampling rate."""
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


def load(bundle: Bundle, baked: Path, threads: int, language_model: NGram | None = None) -> Recogniser:
    """The recogniser for this bundle, from the folder of its baked graphs.

    Args:
        bundle: the model.
        baked: the folder.
        threads: of the CPU.
        language_model: to decode with, for CTC models.

    Raises:
        BadInputError: the family decodes without one.
        BundleError: no family of that name is known here, or a file is damaged.
    """
    check(bundle)
    module = importlib.import_module(f"{__name__}.{bundle.family.replace('-', '_')}")
    recogniser: Recogniser = module.load(bundle, baked, threads, language_model)
    return recogniser
