"""Turns a published corpus into an experiment: a manifest for each domain, and a configuration.

Recordings are not copied unless they must be cut out of longer ones. To add a corpus, add a module with
a function `read` and list it in `CORPORA`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from editing.files import write_atomically
from trainer.lifelong.corpora import common_voice, librispeech, ted_lium
from trainer.lifelong.corpora.source import Source

Corpus = Literal["common-voice", "librispeech", "ted-lium"]

# Each function reads a corpus and returns the utterances of each domain, the base's domain first.
CORPORA: Mapping[Corpus, Callable[[Source], Mapping[str, Sequence[Utterance]]]] = {
    "common-voice": common_voice.read,
    "librispeech": librispeech.read,
    "ted-lium": ted_lium.read,
}


def prepare(
    corpus: Corpus,
    folder: Path,
    out: Path,
    *,
    accents: Sequence[str] = (),
    train: int = 1000,
    test: int = 200,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _count: None,
) -> Path:
    """Writes manifests and the configuration of an experiment.

    Args:
        corpus: the corpus in `folder`.
        folder: the unpacked corpus.
        out: the folder for the manifests and the configuration.
        accents: for Common Voice, the accents in the order of the sequence, the base's first; by
            default US, then by the number of utterances.
        train, test: the largest number of utterances of each domain in these splits. The training split of the first
            domain, on which the base is trained, is not limited.
        seed: for the choice of utterances.
        on_done: called with the number of utterances written.

    Returns:
        The path of the configuration.

    Raises:
        BadInputError: the folder is not that corpus, an accent has too few utterances, or a
            configuration or another manifest exists, which the user may have edited.
    """
    config = out / f"{corpus}.toml"
    if config.exists():
        raise BadInputError(f"{config}: already exists; nothing was changed. Name another folder, or remove it")
    domains = CORPORA[corpus](Source(folder, out, tuple(accents), train, test, on_done))
    random = np.random.default_rng(seed)
    for number, (name, utterances) in enumerate(domains.items()):
        limits = {"train": None if number == 0 and len(domains) > 1 else train, "test": test}
        chosen = [one for split, limit in limits.items() for one in _chosen(utterances, split, limit, random)]
        _write_manifest(out / name / "manifest.jsonl", _manifest(chosen).encode())
        on_done(len(chosen))
    write_atomically(config, _configuration(list(domains)).encode())  # last: a run that was killed can be repeated
    return config


def _write_manifest(path: Path, data: bytes) -> None:
    """Writes a manifest. The same one may exist, from a run that was killed; another one is the user's own.

    Raises:
        BadInputError: another manifest exists.
    """
    if path.is_file() and path.read_bytes() != data:
        raise BadInputError(f"{path}: is there already; it was not changed. Name another folder, or remove it")
    write_atomically(path, data)


def _manifest(utterances: Sequence[Utterance]) -> str:
    records = (
        {"audio": str(one.file.resolve()), "text": one.transcript, "speaker": one.speaker or "", "split": one.split}
        for one in utterances
    )
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _chosen(
    utterances: Sequence[Utterance], split: str, limit: int | None, random: np.random.Generator
) -> list[Utterance]:
    of_split = [one for one in utterances if one.split == split]
    picks = random.permutation(len(of_split))[:limit]
    return [of_split[i] for i in sorted(picks)]


def _configuration(names: Sequence[str]) -> str:
    first, order = (names[0], names[1:]) if len(names) > 1 else (None, names)
    head = f'base = "BUNDLE"  # trained on {first}: asr-edge train {first}/manifest.jsonl\nbase_domain = "{first}"\n'
    lines = [
        *([head] if first else []),
        f"order = {json.dumps(list(order), ensure_ascii=False)}",
        'methods = ["fine-tuning", "task-arithmetic", "ties"]',
        "seeds = [0]",
        "",
        "[manifests]",
        *(f'{_key(name)} = "{name}/manifest.jsonl"' for name in names),
    ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """A key of TOML, which has to be quoted if it has other letters than those of English."""
    return name if name.isascii() else f'"{name}"'
