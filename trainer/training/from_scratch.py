"""Trains a base model from random weights, for `asr-edge train`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from editing.files import folder_in_one_step
from export.bundle import WEIGHTS, Bundle, write_record
from export.graphs.ctc import export_conformer_ctc
from export.weights import write_weights
from trainer.bundle_writer import write_bundle
from trainer.families import conformer_ctc
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.loop import FineTuned, Progress
from trainer.training.settings import FineTuningSettings
from trainer.vocabulary import build_tokenizer

FAMILY = "conformer-ctc"

# The learning rate is ten times that of fine-tuning, because there is no base to preserve.
SETTINGS = FineTuningSettings(
    epochs=30,
    learning_rate=1e-3,
    batch_s=40.0,
    warm_up=0.05,
    clip=5.0,
    embeddings=True,
    augment=True,
    curriculum_epochs=2,
    target_loss=0.0,
)
HELD_OUT = 100  # utterances for validation if the manifest has no "dev" split, but at most a tenth of all


def _name(config: str) -> str:
    return f"conformer-ctc-{config}"


def new_bundle(texts: Sequence[str], config: str, out: Path, vocabulary: int | None = None, seed: int = 0) -> Bundle:
    """A conformer-ctc bundle with random weights, whose vocabulary covers these texts.

    Args:
        texts: the vocabulary is built from these.
        config: a key of `conformer_ctc.CONFIGS`.
        out: a new folder.
        vocabulary: the number of subword units; None for characters.
        seed: for the weights.

    Raises:
        BadInputError: no vocabulary can be built from these texts.
    """
    tokenizer = build_tokenizer(texts, vocabulary)
    architecture = {"encoder": dict(conformer_ctc.CONFIGS[config]), "vocab_size": tokenizer.get_vocab_size() + 1}
    torch.manual_seed(seed)
    model = conformer_ctc.build(architecture)
    record = Bundle(
        folder=out,
        name=_name(config),
        family=FAMILY,
        sampling_rate=SAMPLE_RATE,
        config=architecture,
        licence="LicenseRef-own",
        origin="trained from scratch with asr-edge",
    )
    licence = "Yours: trained with asr-edge from recordings of your own choice.\n"
    return write_bundle(record, tokenizer, model, export_conformer_ctc, licence)


def train(
    training: Sequence[Utterance],
    held_out: Sequence[Utterance],
    config: str,
    out: Path,
    settings: FineTuningSettings = SETTINGS,
    *,
    vocabulary: int | None = None,
    on_start: Callable[[int, int], None] = lambda _training, _held_out: None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> FineTuned:
    """Trains a conformer-ctc model from random weights and writes it to `out` as a bundle.

    A killed run resumes from its last checkpoint, which is in the folder `out` + ".training".

    Args:
        training: utterances with transcripts.
        held_out: utterances for validation; if empty, some of `training` are held out.
        config: "small" or "paper".
        out: a new folder.
        settings: how to train.
        vocabulary: the number of subword units; None for characters.
        on_start: called with the numbers of training and validation utterances.
        on_step: called after each update.

    Raises:
        BadInputError: there are no utterances, the vocabulary lacks a transcript's characters, `out` exists, or the
            folder of the unfinished run, `out` + ".training", has other files or a model of another `config` or
            `vocabulary`.
        BadAudioError, TrainingError: as for `trainer.training.loop.finetune`.
    """
    if out.exists():
        raise BadInputError(f"{out}: already exists; name a new folder")
    if not held_out:
        count = min(HELD_OUT, len(training) // 10)
        every = max(1, len(training) // max(1, count))
        held_out = training[::every][:count]
        chosen = {one.id for one in held_out}
        training = [one for one in training if one.id not in chosen]
    if not training:
        raise BadInputError("there are no utterances to train on")
    unfinished = out.with_name(out.name + ".training")
    _check_unfinished(unfinished)
    on_start(len(training), len(held_out))
    if not (unfinished / "bundle" / "model.json").is_file():
        unfinished.mkdir(parents=True, exist_ok=True)
        new_bundle([one.transcript for one in training], config, unfinished / "bundle", vocabulary, settings.seed)
    bundle = Bundle.open(unfinished / "bundle")
    _check_architecture(bundle, training, config, vocabulary)
    tuned = finetune_on_recordings(
        bundle,
        bundle.weights(),
        training,
        held_out,
        settings,
        checkpoint=unfinished / "checkpoint.safetensors",
        on_step=on_step,
    )
    with_weights(bundle, tuned.weights, out)
    shutil.rmtree(unfinished)
    return tuned


def _check_unfinished(folder: Path) -> None:
    """Refuses a folder with other files, because the folder is removed after training."""
    ours = ("bundle", "checkpoint.safetensors")
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder}: is not a folder; nothing was changed. Name another bundle")
    others = [path for path in folder.glob("*") if path.name not in ours and path.suffix != ".tmp"]
    if others:
        raise BadInputError(
            f"{folder}: training needs this folder and removes it afterwards, but it has {others[0].name}; "
            "nothing was changed. Name another bundle"
        )


def _check_architecture(bundle: Bundle, training: Sequence[Utterance], config: str, vocabulary: int | None) -> None:
    """Refuses to resume a run of another `config` or `vocabulary`, whose model would be returned for this one.

    Args:
        bundle: the model of the unfinished run.
        training: the training utterances.
        config: see `train`.
        vocabulary: see `train`.
    """
    has_expected_vocabulary = (
        all(len(token) == 1 for token in bundle.tokenizer().get_vocab())
        if vocabulary is None
        else build_tokenizer([one.transcript for one in training], vocabulary).get_vocab_size() + 1
        == bundle.config["vocab_size"]
    )
    if bundle.name != _name(config) or not has_expected_vocabulary:
        raise BadInputError(
            f"{bundle.folder.parent}: has an unfinished training with another --config or --vocabulary; nothing was "
            "changed. Give the same ones, name another bundle, or remove this folder"
        )


def with_weights(bundle: Bundle, weights: Mapping[str, Any], out: Path) -> Bundle:
    """Writes a copy of the bundle with other weights to the new folder `out`."""
    with folder_in_one_step(out) as folder:
        shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
        write_weights(folder / WEIGHTS, weights)
        write_record(replace(bundle, folder=folder))
    return Bundle.open(out)
