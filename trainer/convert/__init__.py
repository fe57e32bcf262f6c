"""Converts models of transformers into bundles, for `asr-edge convert`.

One module an architecture, found by walking this folder: MODEL_TYPES are the values of "model_type" in config.json
that it converts. Weights are read from safetensors only, and no code from the model's folder is run.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from device_app.audio.samples import SAMPLE_RATE
from device_app.models.hub import download
from device_app.models.model_card import CARD, ModelCard, licence_text, read_card
from editing.errors import BadInputError
from editing.json_text import read_json
from export.bundle import Bundle

DOWNLOADED = ("*.json", "*.safetensors", CARD, "LICENSE*")


@dataclass(frozen=True)
class Checkpoint:
    """A model of transformers to convert.

    Attributes:
        folder: the folder of its files.
        source: its name on the hub, or its folder.
        config: config.json.
        card: its licence and languages.
        language: the language of its text, a code of ISO 639.
        name: the name of the bundle.
    """

    folder: Path
    source: str
    config: Mapping[str, Any]
    card: ModelCard
    language: str
    name: str

    def record(self, out: Path, family: str, config: Mapping[str, Any]) -> Bundle:
        """The bundle to write into the new folder `out`."""
        return Bundle(
            folder=out,
            name=self.name,
            family=family,
            sampling_rate=SAMPLE_RATE,
            config=config,
            licence=self.card.spdx,
            origin=f"converted from {self.source}",
            language=self.language,
        )

    @property
    def licence_text(self) -> str:
        return licence_text(self.folder, self.card)


class Converter(Protocol):
    """What every module of this folder provides."""

    MODEL_TYPES: frozenset[str]

    def convert(self, checkpoint: Checkpoint, out: Path) -> Bundle:
        """Writes the bundle `out`, a new folder.

        Raises:
            BadInputError: files are missing, damaged or of another model; `out` is not changed.
        """
        ...


def convert(source: str, out: Path, name: str | None = None, language: str | None = None) -> Bundle:
    """Converts a model into the bundle `out`.

    Args:
        source: the model's folder, or its name on the Hugging Face hub, from which it is downloaded.
        out: a new folder.
        name: the bundle's name; by default the name of the source's folder.
        language: the language of its text; by default that of the model card, English without a card.

    Raises:
        BadInputError: the source is not a model that can be converted, or its card lists several languages.
        NetworkError: the hub cannot be reached.
    """
    folder = Path(source) if Path(source).is_dir() else download(source, DOWNLOADED, "Name a folder of it")
    try:
        config = read_json(folder / "config.json")
        kind = config["model_type"]
    except FileNotFoundError:
        raise BadInputError(f"{source}: is not a model of transformers (config.json is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{source}: is not a model of transformers (config.json: {error})") from error
    card = read_card(folder)
    checkpoint = Checkpoint(
        folder, source, config, card, card.language(language), name or source.rstrip("/").rpartition("/")[2]
    )
    return _converter(source, kind).convert(checkpoint, out)


def _converter(source: str, kind: object) -> Converter:
    known: dict[str, Converter] = {}
    for module in pkgutil.iter_modules(__path__):
        converter = cast(Converter, importlib.import_module(f"{__name__}.{module.name}"))
        known |= dict.fromkeys(converter.MODEL_TYPES, converter)
    if not isinstance(kind, str) or kind not in known:
        raise BadInputError(f"{source}: a model of the type {kind!r}; asr-edge converts {', '.join(sorted(known))}")
    return known[kind]
