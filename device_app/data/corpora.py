"""Finds recordings and transcripts in a folder, in the layouts in which corpora are published."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from device_app.audio.samples import SUFFIXES, is_recording
from device_app.data.manifest import FILE_NAME, path_inside, read_lines
from device_app.data.names import cleaned_name, is_reserved, one_spaced
from device_app.data.tables import Row, TabSeparated, read_table
from device_app.data.text_files import read_text, split_lines
from device_app.data.utterance import Utterance
from editing.errors import BadInputError

UNKNOWN_ACCENT = "unknown accent"
# Those of a Common Voice release with clips whose texts volunteers confirmed. The splits come first: validated.tsv has
# their clips too.
COMMON_VOICE_TABLES = ("test.tsv", "dev.tsv", "train.tsv", "validated.tsv")
TEXT_COLUMNS = ("transcription", "text", "sentence")
MAX_LABEL_BYTES = 1 << 20  # size limit of a .txt file beside a recording

# Common Voice identifies a speaker by 128 hexadecimal digits; the first 12 are enough to tell millions apart.
CLIENT_ID_DIGITS = 12

OnLeftOut = Callable[[str], None]  # receives a line about a file that is left out
Reader = Callable[[Path, OnLeftOut], Iterator[Utterance] | None]  # returns None for a corpus of another kind


def find_utterances(path: Path, on_left_out: OnLeftOut = lambda _line: None) -> tuple[str, list[Utterance]]:
    """Detects the kind of a corpus from its files and lists its utterances. Reads no recordings; some may be missing.

    Args:
        path: the corpus.
        on_left_out: called with a line for each transcript file that cannot be read; its recordings are left out.

    Returns:
        The kind of corpus, in words, and its utterances. Their domain is the one that the corpus assigns (Common
        Voice: the accent), or "".

    Raises:
        BadInputError: nothing was found, or a line of a table is not valid.
    """
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
        raise BadInputError(f"{path}: there is no such file or folder")
    for kind, reader in KINDS.items():
        left_out: list[str] = []
        utterances = reader(path, left_out.append)
        if utterances is not None:
            found = list(utterances)
            if not found:
                raise BadInputError(left_out[0] if left_out else f"{path}: a {kind} without recordings")
            for line in left_out:
                on_left_out(line)
            return kind, found
    raise BadInputError(
        f"{path}: nothing to import. Known are manifests (JSON lines), Common Voice (TSV and clips), "
        "audiofolder (metadata.csv or .jsonl), LibriSpeech, and recordings with or without .txt files beside them"
    )


def _manifest(path: Path, _on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    if path.is_dir() and (path / FILE_NAME).is_file():
        path = path / FILE_NAME
    return read_lines(path) if path.suffix in (".jsonl", ".json") else None


def _common_voice(path: Path, _on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Reads one TSV of a release, or of a folder those in COMMON_VOICE_TABLES, beside the folder of clips.

    A clip is in several tables: each is read once, and keeps the split that `dev.tsv` or `test.tsv` gives it.
    """
    if path.is_dir():
        tables = [path / name for name in COMMON_VOICE_TABLES if (path / name).is_file()]
        if not tables or not (path / "clips").is_dir():
            return None
    elif path.suffix == ".tsv":
        tables = [path]
    else:
        return None
    return _clips(tables)


def _clips(tables: Sequence[Path]) -> Iterator[Utterance]:
    seen: set[str] = set()
    for table in tables:
        split = table.stem if table.stem in ("dev", "test") else ""
        for row in read_table(table, ("path", "sentence", "client_id"), TabSeparated):
            if row["path"] in seen:
                continue
            if len(tables) > 1:  # two rows of one table for one clip are an error, which the import reports
                seen.add(row["path"])
            yield Utterance(
                audio=_clip(table.parent / "clips", row),
                text=one_spaced(row["sentence"]) or None,
                speaker=cleaned_name(row["client_id"][:CLIENT_ID_DIGITS]) or None,
                domain=_domain_of(row.get("accents") or row.get("accent") or ""),
                split=split,
                location=row.location,
            )


def _clip(clips: Path, row: Row) -> Path:
    """The recording of a row; releases of 2019 write its name without a suffix."""
    audio = path_inside(clips, row["path"], row.location)
    if audio.suffix.lower() not in SUFFIXES:
        mp3 = path_inside(clips, f"{row['path']}.mp3", row.location)
        return mp3 if os.path.lexists(mp3) or not os.path.lexists(audio) else audio
    return audio


def _domain_of(accent: str) -> str:
    """Converts an accent, which contributors enter as free text, to a valid domain name."""
    name = cleaned_name(accent)
    return UNKNOWN_ACCENT if not name or is_reserved(name) else name


def _audiofolder(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    if path.name not in ("metadata.csv", "metadata.jsonl"):
        tables = [path / name for name in ("metadata.csv", "metadata.jsonl") if (path / name).is_file()]
        if not tables:
            return None
        path = tables[0]
    if path.suffix == ".jsonl":
        return _manifest(path, on_left_out)

    def rows() -> Iterator[Utterance]:
        for row in read_table(path, ("file_name",), csv.excel):
            texts = [row[column] for column in TEXT_COLUMNS if column in row]
            if not texts:
                raise BadInputError(f"{row.location}: has no column transcription, text or sentence")
            yield Utterance(
                audio=path_inside(path.parent, row["file_name"], row.location),
                text=one_spaced(texts[0]) or None,
                speaker=cleaned_name(row.get("speaker", "")) or None,
                split=row.get("split", ""),
                location=row.location,
            )

    return rows()


def _librispeech(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    tables = sorted(path.rglob("*.trans.txt")) if path.is_dir() else []
    if not tables:
        return None

    def rows() -> Iterator[Utterance]:
        for table in tables:
            try:
                lines = split_lines(read_text(table))
            except BadInputError as error:
                on_left_out(str(error))
                continue
            for number, line in enumerate(lines, 1):
                name, _, text = line.strip().partition(" ")
                if name:
                    location = f"{table}, line {number}"
                    audio = path_inside(table.parent, f"{name}.flac", location)
                    speaker = cleaned_name(name.partition("-")[0]) or None
                    yield Utterance(audio=audio, text=one_spaced(text) or None, speaker=speaker, location=location)

    return rows()


def _pairs(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Recordings, some of which have a .txt file beside them."""
    recordings = sorted(_walk(path, on_left_out)) if path.is_dir() else []
    has_labels = any(recording.with_suffix(".txt").is_file() for recording in recordings)
    return _labelled(recordings, on_left_out) if has_labels else None


def _recordings(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    recordings = sorted(_walk(path, on_left_out)) if path.is_dir() else []
    return _labelled(recordings, on_left_out) if recordings else None


def _recording(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    return _labelled([path], on_left_out) if path.is_file() and is_recording(path) else None


def _labelled(recordings: Sequence[Path], on_left_out: OnLeftOut) -> Iterator[Utterance]:
    """Yields recordings with the texts beside them; a recording without a text is unlabelled."""
    for recording in recordings:
        label = recording.with_suffix(".txt")
        try:
            text = one_spaced(read_text(label, MAX_LABEL_BYTES)) if label.is_file() else ""
        except BadInputError as error:
            on_left_out(f"{recording}: {error}")
            continue
        yield Utterance(audio=recording, text=text or None)


def _walk(folder: Path, on_left_out: OnLeftOut) -> Iterator[Path]:
    """Yields the recordings in a folder and its subfolders, including links, even if their targets are missing.

    Links to folders are followed, each folder once. AppleDouble files of macOS (`._NAME`), which hold only metadata of
    other files, are skipped.
    """

    def report(error: OSError) -> None:
        on_left_out(f"{error.filename}: cannot be read ({error.strerror})")

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("._") and (path.is_file() or path.is_symlink()):
                yield path


# By the name of the kind in messages; the first that fits a path is used.
KINDS: dict[str, Reader] = {
    "manifest": _manifest,
    "Hugging Face audiofolder": _audiofolder,
    "Common Voice release": _common_voice,
    "LibriSpeech tree": _librispeech,
    "folder of recordings and texts": _pairs,
    "folder of recordings": _recordings,
    "recording": _recording,
}
