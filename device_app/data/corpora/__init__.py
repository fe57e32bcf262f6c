"""Finds recordings and transcripts in a folder, in the layouts in which corpora are published."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from device_app.audio.samples import is_recording
from device_app.data.corpora.layouts import (
    OnLeftOut,
    audiofolder,
    common_voice,
    is_common_voice_table,
    is_librispeech_table,
    librispeech,
    with_split_of_folder,
)
from device_app.data.folders import find_name, not_a_file, table_in, texts_beside, walk
from device_app.data.manifest import AUDIO_KEYS, FILE_NAME, TEXT_KEYS, read_lines
from device_app.data.names import one_spaced
from device_app.data.text_files import read_text
from device_app.data.utterance import Utterance
from editing.errors import BadInputError, one_line

MAX_LABEL_BYTES = 1 << 20  # size limit of a .txt file beside a recording

# Files in a folder of recordings that may list them with their texts, and what the start of such a list names.
LIST_SUFFIXES = frozenset({".jsonl", ".json", ".csv", ".tsv"})
LIST_START_BYTES = 4096
LIST_AUDIO = re.compile(rb"\b(" + "|".join((*AUDIO_KEYS, "path")).encode() + rb")\b", re.IGNORECASE)
LIST_TEXT = re.compile(rb"\b(" + "|".join(TEXT_KEYS).encode() + rb")\b", re.IGNORECASE)
MAX_NAMED = 5  # corpora in a message

Reader = Callable[[Path, OnLeftOut], Iterator[Utterance] | None]  # returns None for a corpus of another kind


def find_utterances(path: Path, on_left_out: OnLeftOut = lambda _line: None) -> tuple[str, list[Utterance]]:
    """Detects the kind of a corpus from its files and lists its utterances. Reads no recordings; some may be missing.

    Args:
        path: the corpus.
        on_left_out: called with a line for each transcript file that cannot be read, whose recordings are left out,
            and for each table of texts that is not read.

    Returns:
        The kind of corpus, in words, and its utterances. Their domain is the one that the corpus assigns (Common
        Voice: the accent), or "".

    Raises:
        BadInputError: nothing was found, a line of a table is not valid, or it is not clear which table to read.
    """
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
        raise BadInputError(f"{path}: there is no such file or folder")
    if not path.is_dir() and (what := not_a_file(path)) is not None:  # reading a pipe here could wait for ever
        raise BadInputError(f"{path}: is {what}, and import reads files only; save it as a file first")
    left_out: list[str] = []
    corpus = _corpus(path, left_out.append)
    if corpus is not None:
        kind, utterances = corpus
        found = list(utterances)
        if not found:
            raise BadInputError(left_out[0] if left_out else f"{path}: a {kind} without recordings")
        for line in dict.fromkeys(left_out):
            on_left_out(line)
        return kind, found
    raise BadInputError(
        f"{path}: nothing to import. Known are manifests (JSON lines), Common Voice (TSV and clips), "
        "audiofolder (metadata.csv or .jsonl), LibriSpeech, and recordings with or without .txt files beside them"
    )


def _corpus(path: Path, on_left_out: OnLeftOut) -> tuple[str, Iterator[Utterance]] | None:
    """The kind of a corpus and its utterances; None if it is of no kind."""
    for kind, reader in TABLES.items():
        if (utterances := reader(path, on_left_out)) is not None:
            return kind, utterances
    if path.is_dir() and (corpus := _corpora_below(path, on_left_out)) is not None:
        return corpus
    for kind, reader in TREES.items():
        if (utterances := reader(path, on_left_out)) is not None:
            return kind, utterances
    return None


def _manifest(path: Path, _on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    if path.is_dir() and (inside := table_in(path, FILE_NAME)) is not None:
        path = inside
    return read_lines(path) if path.suffix.lower() in (".jsonl", ".json") and not path.is_dir() else None


def _corpora_below(path: Path, on_left_out: OnLeftOut) -> tuple[str, Iterator[Utterance]] | None:
    """Reads the corpora in the folders of a folder, such as one with `train/metadata.csv` and `test/metadata.csv`.

    Recordings outside of them that they do not name are read as `_pairs` does.

    Raises:
        BadInputError: they are of several kinds, or several releases of Common Voice.
    """
    corpora: list[tuple[str, Path, Iterator[Utterance]]] = []
    others: list[tuple[Path, list[Path]]] = []
    for folder, folders, files in walk(path, on_left_out):
        for kind, reader in TABLES.items():
            if folder != path and (utterances := reader(folder, on_left_out)) is not None:
                corpora.append((kind, folder, utterances))
                folders.clear()
                break
        else:
            others += texts_beside(folder, folders, files)
            if any(map(is_librispeech_table, files)):
                corpora.append(("LibriSpeech tree", folder, iter(())))
    kinds = {kind for kind, _, _ in corpora}
    if kinds <= {"LibriSpeech tree"}:
        return None
    if len(kinds) > 1 or (kinds == {"Common Voice release"} and len(corpora) > 1):
        named = ", ".join(f"{folder.relative_to(path)} ({kind})" for kind, folder, _ in corpora[:MAX_NAMED])
        raise BadInputError(
            f"{path}: has several corpora: {one_line(named)}; import one at a time: asr-edge import {corpora[0][1]}"
        )

    def utterances_of_all() -> Iterator[Utterance]:
        named = set()
        for _, folder, utterances in corpora:
            for one in utterances:
                named.add(os.path.realpath(one.file))
                yield with_split_of_folder(one, path, folder)
        yield from _labelled([one for one in others if os.path.realpath(one[0]) not in named], on_left_out)

    return kinds.pop(), utterances_of_all()


def _pairs(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Recordings, some of which have a .txt file beside them."""
    found = _recordings_below(path, on_left_out)
    return _labelled(found, on_left_out) if any(texts for _, texts in found) else None


def _recordings(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    found = _recordings_below(path, on_left_out)
    return _labelled(found, on_left_out) if found else None


def _recording(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    if not path.is_file() or not is_recording(path):
        return None
    text = find_name(path.parent, f"{path.stem}.txt")
    return _labelled([(path, [] if text is None else [text])], on_left_out)


def _recordings_below(path: Path, on_left_out: OnLeftOut) -> list[tuple[Path, list[Path]]]:
    """The recordings in a folder and its subfolders, each with its texts; links whose targets are missing, too."""
    found: list[tuple[Path, list[Path]]] = []
    lists: list[Path] = []
    for folder, folders, files in walk(path, on_left_out) if path.is_dir() else ():
        found += texts_beside(folder, folders, files)
        lists += (folder / name for name in files if _is_list(folder / name))
    if found:
        for one in lists:
            on_left_out(f"{one}: lists recordings and texts, but was not read; {_remedy(one)}")
    return sorted(found)


def _remedy(unread: Path) -> str:
    """How to have a list of recordings read. A TSV is a table of Common Voice, or of no known kind."""
    if unread.suffix.lower() == ".tsv" and not is_common_voice_table(unread):
        return "call it metadata.csv, with the columns file_name and transcription, separated by commas"
    return f"to read it: asr-edge import {unread}"


def _is_list(path: Path) -> bool:
    """Whether a file, by its name and its start, may be a manifest or a table of recordings and texts."""
    if path.suffix.lower() not in LIST_SUFFIXES or not_a_file(path) is not None:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(LIST_START_BYTES)
    except OSError:
        return False
    return LIST_AUDIO.search(start) is not None and LIST_TEXT.search(start) is not None


def _labelled(recordings: Sequence[tuple[Path, Sequence[Path]]], on_left_out: OnLeftOut) -> Iterator[Utterance]:
    """Yields recordings with the texts beside them; a recording without a text is unlabelled."""
    for recording, texts in recordings:
        try:
            yield Utterance(audio=recording, text=_text_of(texts) or None)
        except BadInputError as error:
            on_left_out(f"{recording}: {error}")


def _text_of(texts: Sequence[Path]) -> str:
    """The text in the only one of these files; "" if there are none."""
    if len(texts) > 1:
        names = one_line(", ".join(sorted(text.name for text in texts)))
        raise BadInputError(f"has several texts: {names}; keep one of them")
    if texts and (reason := not_a_file(texts[0])) is not None:
        raise BadInputError(f"{texts[0]}: is {reason}, not a text file; replace or delete it")
    return one_spaced(read_text(texts[0], MAX_LABEL_BYTES)) if texts else ""


# Readers by the name of the kind in messages; the first that fits a path is used. Those of `TABLES` read a file that
# names recordings, which is in the folder itself, and are tried on the folders in it before those of `TREES`.
TABLES: dict[str, Reader] = {
    "manifest": _manifest,
    "Hugging Face audiofolder": audiofolder,
    "Common Voice release": common_voice,
}
TREES: dict[str, Reader] = {
    "LibriSpeech tree": librispeech,
    "folder of recordings and texts": _pairs,
    "folder of recordings": _recordings,
    "recording": _recording,
}
