"""Model families in torch: one file each, of the same name as in `device_app.families`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BundleError
from export.bundle import Bundle

# What a fine-tuning may touch, as parts of parameter names between dots; nothing named is everything.
SCOPES: Mapping[str, Sequence[str]] = {
    "hearing": ("encoder", "encoder_attn"),  # all but the decoder's knowledge of language
    "all": (),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "attention": ("self_attn", "encoder_attn"),
}


class Family(Protocol):
    """What training needs to know of a family; its module satisfies this."""

    def build(self, config: Mapping[str, Any], attention: str = "eager") -> torch.nn.Module:
        """A model of this shape, its weights yet to be loaded."""
        ...

    def load_weights(self, model: torch.nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Copies weights into it; names and shapes must be exactly the model's."""
        ...

    def prepare(self, model: torch.nn.Module) -> None:
        """Makes the model hear a padded batch as it hears its utterances one by one."""
        ...

    def tokenise(self, bundle: Bundle) -> Callable[[str], list[int]]:
        """Gives the function that turns a text into the tokens to be learnt."""
        ...

    def loss(
        self, model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, int]:
        """The summed loss of a batch, and over how many tokens.

        Args:
            model: prepared.
            audio: (batch, samples), zeros after each one's end.
            lengths: (batch,), samples of each.
            targets: tokens of each.
        """
        ...


def find(bundle: Bundle) -> Family:
    """The family of a bundle.

    Raises:
        BundleError: none of that name can be trained here.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if bundle.family not in known:
        raise BundleError(
            f"{bundle.folder}: a model of the family {bundle.family!r}; this asr-edge trains {', '.join(known)}"
        )
    return cast(Family, importlib.import_module(f"{__name__}.{bundle.family}"))
