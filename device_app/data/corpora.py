"""What lies in a folder: the corpora that others publish, as recordings and their texts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from device_app.audio.samples import SUFFIXES
from device_app.data.manifest import inside, read_lines
from device_app.data.utterance import Utterance
from editing.errors import BadInputError

UNKNOWN_ACCENT = "unknown accent"


def find_utterances(path: Path) -> tuple[str, list[Utterance]]:
    """Recognises a corpus by its files and lists its utterances; no recording is read, and some may be missing.

    Returns:
        The kind of corpus, in words, and its utterances. Their domain is the one that the corpus itself gives them
        (Common Voice: the accent), or "".

    Raises:
        BadInputError: nothing that is known lies there, or a line of its tables is not as it
            should be.
    """
    if not path.exists():
        raise BadInputError(f"{path}: there is no such file or folder")
    for kind, reader in KINDS.items():
        utterances = reader(path)
        if utterances is not None:
            found = list(utterances)
            if not found:
                raise BadInputError(f"{path}: a {kind} without recordings")
            return kind, found
    raise BadInputError(
        f"{path}: nothing to import. Known are manifests (JSON lines), Common Voice (TSV and clips), "
        "audiofolder (metadata.csv or .jsonl), LibriSpeech, and recordings with .txt files beside them"
    )


def _manifest(path: Path) -> Iterator[Utterance] | None:
    if path.suffix not in (".jsonl", ".json"):
        return None
    return read_lines(path)


def _common_voice(path: Path) -> Iterator[Utterance] | None:
    """A release's TSV beside its folder of clips. A folder gives `validated.tsv`, else `train.tsv`."""
    if path.is_dir():
        tables = [path / name for name in ("validated.tsv", "train.tsv") if (path / name).is_file()]
        if not tables or not (path / "clips").is_dir():
            return None
        path = tables[0]
    if path.suffix != ".tsv":
        return None
    clips = path.parent / "clips"

    def rows() -> Iterator[Utterance]:
        for place, row in _table(path, ("path", "sentence", "client_id"), _TabSeparated):
            accent = row.get("accents") or row.get("accent") or UNKNOWN_ACCENT
            audio = inside(clips, row["path"], place)
            yield Utterance(
                audio=audio,
                text=row["sentence"] or None,
                speaker=row["client_id"][:12] or None,
                domain=accent[:100].strip(),
                place=place,
            )

    return rows()


def _audiofolder(path: Path) -> Iterator[Utterance] | None:
    if path.name not in ("metadata.csv", "metadata.jsonl"):
        tables = [path / name for name in ("metadata.csv", "metadata.jsonl") if (path / name).is_file()]
        if not tables:
            return None
        path = tables[0]
    if path.suffix == ".jsonl":
        return _manifest(path)

    def rows() -> Iterator[Utterance]:
        for place, row in _table(path, ("file_name",), csv.excel):
            texts = [row[column] for column in ("transcription", "text", "sentence") if row.get(column) is not None]
            if not texts:
                raise BadInputError(f"{place}: has no column transcription, text or sentence")
            audio = inside(path.parent, row["file_name"], place)
            yield Utterance(audio=audio, text=texts[0] or None, speaker=row.get("speaker") or None, place=place)

    return rows()


def _librispeech(path: Path) -> Iterator[Utterance] | None:
    tables = sorted(path.rglob("*.trans.txt")) if path.is_dir() else []
    if not tables:
        return None

    def rows() -> Iterator[Utterance]:
        for table in tables:
            for number, line in enumerate(_lines(table), 1):
                name, _, text = line.strip().partition(" ")
                if name:
                    place = f"{table}, line {number}"
                    audio = inside(table.parent, f"{name}.flac", place)
                    yield Utterance(audio=audio, text=text or None, speaker=name.partition("-")[0], place=place)

    return rows()


def _pairs(path: Path) -> Iterator[Utterance] | None:
    if not path.is_dir():
        return None
    recordings = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not any(recording.with_suffix(".txt").is_file() for recording in recordings):
        return None

    def text_of(recording: Path) -> str | None:
        beside = recording.with_suffix(".txt")
        return " ".join(_lines(beside)).strip() or None if beside.is_file() else None

    return (Utterance(audio=recording, text=text_of(recording)) for recording in recordings)


KINDS: dict[str, Callable[[Path], Iterator[Utterance] | None]] = {
    "manifest": _manifest,
    "audiofolder": _audiofolder,
    "Common Voice release": _common_voice,
    "LibriSpeech tree": _librispeech,
    "folder of recordings and texts": _pairs,
}


class _TabSeparated(csv.excel_tab):
    """Common Voice's tables: sentences hold stray quotation marks, which are not escaped."""

    quoting = csv.QUOTE_NONE


def _table(path: Path, columns: tuple[str, ...], dialect: type[csv.Dialect]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV or TSV file, each with its place for error messages."""
    reader = csv.DictReader(_lines(path), dialect=dialect)
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise BadInputError(
            f"{path}: the column {missing[0]} is missing (there are {', '.join(reader.fieldnames or ())})"
        )
    try:
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if any(row[column] is None for column in columns):
                raise BadInputError(f"{place}: has too few columns")
            yield place, row
    except csv.Error as error:
        raise BadInputError(f"{path}, line {reader.line_num}: {error}") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as text ({error})") from error
