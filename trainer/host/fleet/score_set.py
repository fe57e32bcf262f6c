"""Held-out speech of a group, which the host keeps to score contributions: FLAC files and a manifest per group."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_app.audio.samples import encode
from device_app.data.manifest import FILE_NAME, read_manifest
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import basic
from editing.errors import BadInputError
from editing.files import write_all_atomically
from editing.privacy import make_folder

GROUP_PREFIX = "group-"  # so that the group ".." is not another folder


@dataclass(frozen=True)
class ScoreSet:
    """The size of a group's held-out speech: number of utterances, and of words in their texts."""

    group: str
    utterances: int
    words: int


def add_speech(folder: Path, group: str, manifest: Path) -> ScoreSet:
    """Copies the recordings of a manifest into a group's held-out speech.

    If the manifest has splits, only its held-out ones (test, dev, validation) are taken.

    Args:
        folder: the host's folder.
        group: the group's name.
        manifest: the file of a manifest, or a folder that has one.

    Raises:
        BadInputError, BadAudioError: the manifest or a recording cannot be read, or a text has no word; nothing was
            added.
        StorageError: the disk is full or cannot be written; nothing was added.
    """
    utterances = read_manifest(manifest)
    if any(one.has_split for one in utterances):
        utterances = [one for one in utterances if one.is_held_out]
    if not utterances:
        raise BadInputError(
            f"{manifest}: has no held-out utterances (split test, dev or validation); nothing was added"
        )
    for one in utterances:
        if not _has_words(one):
            raise BadInputError(f"{one.location}: its text has no word, so it shows no error; nothing was added")
    target = _folder(folder, group)
    lines, files = _lines(target), {}
    for one in utterances:
        data = encode(one.read())
        name = f"{hashlib.sha256(data).hexdigest()}.flac"
        files[target / name] = data
        lines[name] = json.dumps({"audio": name, "text": one.transcript}, ensure_ascii=False)
    make_folder(target)
    manifest_bytes = "".join(f"{line}\n" for line in lines.values()).encode()
    write_all_atomically({**files, target / FILE_NAME: manifest_bytes}, private=True)
    return _size(folder, group)


def speech(folder: Path, group: str) -> Sequence[Utterance]:
    """A group's held-out utterances that have words; empty if it has none.

    Without words, no error would show, and the group would seem to have speech on which vectors are checked.

    Raises:
        BadInputError: the manifest is damaged, or a recording is missing.
    """
    path = _folder(folder, group) / FILE_NAME
    return [one for one in read_manifest(path) if _has_words(one)] if path.is_file() else []


def score_sets(folder: Path) -> list[ScoreSet]:
    """The groups that have held-out speech, by name."""
    manifests = sorted((folder / "fleet" / "score").glob(f"{GROUP_PREFIX}*/{FILE_NAME}"))
    return [_size(folder, path.parent.name.removeprefix(GROUP_PREFIX)) for path in manifests]


def remove_speech(folder: Path, group: str) -> None:
    """Deletes a group's held-out speech.

    Raises:
        BadInputError: the group has none.
    """
    target = _folder(folder, group)
    if not (target / FILE_NAME).is_file():
        raise BadInputError(
            f"{group}: this group has no held-out speech; 'asr-edge host fleet score list' shows which do"
        )
    (target / FILE_NAME).unlink()
    shutil.rmtree(target)


def _has_words(utterance: Utterance) -> bool:
    return bool(basic(utterance.transcript))


def _folder(folder: Path, group: str) -> Path:
    return folder / "fleet" / "score" / f"{GROUP_PREFIX}{group}"


def _lines(target: Path) -> dict[str, str]:
    """The lines of a group's manifest, by file name; empty if it has none."""
    path = target / FILE_NAME
    if not path.is_file():
        return {}
    return {
        one.file.name: json.dumps({"audio": one.file.name, "text": one.transcript}, ensure_ascii=False)
        for one in read_manifest(path)
    }


def _size(folder: Path, group: str) -> ScoreSet:
    found = speech(folder, group)
    return ScoreSet(group, len(found), sum(len(one.transcript.split()) for one in found))
