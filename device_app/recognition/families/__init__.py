"""Model families: one module each, found by name in this folder only."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from device_app.data.terms import Term
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
            is_draft: whether to prefer speed to accuracy, as for a partial text.
        """
        ...

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        """The model's outputs for one segment of speech: (tokens + 1, vocabulary), or (frames, vocabulary) for CTC.

        Args:
            audio: (samples,) at the bundle's sampling rate.
            text: what is said. An autoregressive model predicts each of its tokens, and the end, from the tokens
                before; a CTC model does not use it.
        """
        ...

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> Recogniser:
        """Returns a recogniser of the same loaded model with other keyterms.

        Raises:
            BadInputError: one of them is not a valid term.
        """
        ...

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        """The negative log-likelihood of a text in nats; None for a CTC model, which does not align it.

        Args:
            log_probabilities: (tokens + 1, vocabulary), the result of the function of this name for this text.
            text: what is said.
        """
        ...


class Family(Protocol):
    """The function that every family's module provides."""

    def load(self, bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> Recogniser:
        """Loads a model from its baked graphs.

        Args:
            bundle: the model.
            baked: the folder of the baked graphs.
            threads: CPU threads.
            options: decoding options.

        Raises:
            BadInputError: the family does not support one of the options.
            BundleError: a file is missing or damaged.
        """
        ...


def find(bundle: Bundle) -> Family:
    """The family of a bundle.

    Raises:
        BundleError: there is no such family.
    """
    known = sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))
    if bundle.family not in known:
        raise BundleError(
            f"{bundle.folder}: a model of the family {bundle.family!r}; this asr-edge runs {', '.join(known)}"
        )
    return cast(Family, importlib.import_module(f"{__name__}.{bundle.family.replace('-', '_')}"))
