"""The layouts in which corpora are published: audiofolder, Common Voice and LibriSpeech."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from device_app.audio.samples import SUFFIXES, is_apple_double
from device_app.data.corpora.tables import Row, TabSeparated, read_table
from device_app.data.folders import find_name, not_a_file, recordings_of, table_in, walk
from device_app.data.manifest import cut_of, path_of, read_lines
from device_app.data.names import cleaned_name, is_reserved, one_spaced
from device_app.data.text_files import read_text, split_lines
from device_app.data.utterance import Utterance
from editing.errors import BadInputError

UNKNOWN_ACCENT = "unknown accent"
# Those of a Common Voice release with clips whose texts volunteers confirmed. The splits come first: validated.tsv has
# their clips too.
COMMON_VOICE_TABLES = ("test.tsv", "dev.tsv", "train.tsv", "validated.tsv")
CLIPS = "clips"  # the folder of a Common Voice release that has its recordings
AUDIOFOLDER_TABLES = ("metadata.csv", "metadata.jsonl")
TEXT_COLUMNS = ("transcription", "text", "sentence")
COMMON_VOICE_COLUMNS = ("path", "sentence", "client_id")
MAX_HEADER_BYTES = 4096
CUT_COLUMNS = ("offset", "duration")

# Common Voice identifies a speaker by 128 hexadecimal digits; the first 12 are enough to tell millions apart.
CLIENT_ID_DIGITS = 12

OnLeftOut = Callable[[str], None]  # receives a line about a file that is left out


def common_voice(path: Path, _on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Reads one TSV of a Common Voice release, or of a folder those in COMMON_VOICE_TABLES, beside the folder of clips.

    A clip is in several tables: each is read once, and keeps the split that `dev.tsv` or `test.tsv` gives it.
    """
    if path.is_dir():
        tables = [table for name in COMMON_VOICE_TABLES if (table := table_in(path, name)) is not None]
        if not tables or find_name(path, CLIPS) is None:
            return None
    elif path.suffix.lower() == ".tsv":
        tables = [path]
    else:
        return None
    return _clips(tables)


def is_common_voice_table(path: Path) -> bool:
    """Whether the first line of a TSV names the columns of Common Voice."""
    with path.open("rb") as file:
        names = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace").lower().rstrip("\r\n").split("\t")
    return set(COMMON_VOICE_COLUMNS) <= {*names}


def _clips(tables: Sequence[Path]) -> Iterator[Utterance]:
    seen: set[str] = set()
    clips = find_name(tables[0].parent, CLIPS) or tables[0].parent / CLIPS
    for table in tables:
        split = table.stem.lower() if table.stem.lower() in ("dev", "test") else ""
        for row in read_table(table, COMMON_VOICE_COLUMNS, TabSeparated, CUT_COLUMNS):
            if row["path"] in seen:
                continue
            if len(tables) > 1:  # two rows of one table for one clip are an error, which the import reports
                seen.add(row["path"])
            start, end = _cut(row)
            yield Utterance(
                audio=_clip(clips, row),
                start=start,
                end=end,
                text=one_spaced(row["sentence"]) or None,
                speaker=cleaned_name(row["client_id"][:CLIENT_ID_DIGITS]) or None,
                domain=_domain_of(row.get("accents") or row.get("accent") or ""),
                split=split,
                location=row.location,
            )


def _cut(row: Row) -> tuple[int, int | None]:
    """The part of the recording that the row selects, as `cut_of` returns it; an empty cell counts as absent."""
    return cut_of({key: _number(row[key]) for key in CUT_COLUMNS if row.get(key, "").strip()}, row.location)


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell  # which `cut_of` reports


def _clip(clips: Path, row: Row) -> Path:
    """The recording of a row; releases of 2019 write its name without a suffix."""
    audio = path_of(clips, row["path"], row.location)
    if audio.suffix.lower() not in SUFFIXES:
        mp3 = path_of(clips, f"{row['path']}.mp3", row.location)
        return mp3 if os.path.lexists(mp3) or not os.path.lexists(audio) else audio
    return audio


def _domain_of(accent: str) -> str:
    """Converts an accent, which contributors enter as free text, to a valid domain name."""
    name = cleaned_name(accent)
    return UNKNOWN_ACCENT if not name or is_reserved(name) else name


def audiofolder(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Reads a table of an audiofolder, or of a folder that has one, this and those of the folders in it."""
    if not path.is_dir():
        return _metadata(path, path.parent) if path.suffix.lower() == ".csv" else None
    if _metadata_of(path) is None:
        return None
    tables = [table for folder, _, _ in walk(path, on_left_out) if (table := _metadata_of(folder)) is not None]
    return chain.from_iterable(_metadata(table, path) for table in tables)


def _metadata_of(folder: Path) -> Path | None:
    """The table of a folder, if it has one.

    Raises:
        BadInputError: it has two.
    """
    tables = [table for name in AUDIOFOLDER_TABLES if (table := table_in(folder, name)) is not None]
    if len(tables) > 1:
        first, second = tables
        raise BadInputError(
            f"{folder}: has {first.name} and {second.name}; keep the one to read, or name it: asr-edge import {first}"
        )
    return tables[0] if tables else None


def _metadata(table: Path, root: Path) -> Iterator[Utterance]:
    """The utterances of a table of an audiofolder. Those without a split get it from the folders below `root`."""
    rows = read_lines(table, only_inside=True) if table.suffix.lower() == ".jsonl" else _metadata_rows(table)
    return (with_split_of_folder(one, root, table.parent) for one in rows)


def _metadata_rows(table: Path) -> Iterator[Utterance]:
    optional = (*TEXT_COLUMNS, *CUT_COLUMNS, "speaker", "split")
    for row in read_table(table, ("file_name",), csv.excel, optional):
        texts = [one_spaced(row[column]) for column in TEXT_COLUMNS if column in row]
        if not texts:
            raise BadInputError(f"{row.location}: has no column transcription, text or sentence")
        start, end = _cut(row)
        yield Utterance(
            audio=path_of(table.parent, row["file_name"], row.location),
            start=start,
            end=end,
            text=next(filter(None, texts), None),
            speaker=cleaned_name(row.get("speaker", "")) or None,
            split=row.get("split", ""),
            location=row.location,
        )


def with_split_of_folder(one: Utterance, root: Path, folder: Path) -> Utterance:
    """Gives an utterance whose line names no split that of its folder, such as `test` or `data/train`.

    Args:
        one: the utterance.
        root: the folder of the corpus; only the names of folders inside it count.
        folder: the folder of the table that names the utterance.
    """
    if one.split:
        return one
    parents = [path.relative_to(root).parts for path in (folder, one.file.parent) if path.is_relative_to(root)]
    of_folders = (replace(one, split=name) for name in reversed([*chain.from_iterable(parents)]))
    return next((found for found in of_folders if found.has_split), one)


def is_librispeech_table(name: str) -> bool:
    """Whether a file has the name of a table of LibriSpeech."""
    return name.lower().endswith(".trans.txt") and not is_apple_double(name)


def librispeech(path: Path, on_left_out: OnLeftOut) -> Iterator[Utterance] | None:
    """Reads all tables of a LibriSpeech tree; their recordings may have any format."""
    if not path.is_dir():
        return None
    tables = [
        (folder / name, files)
        for folder, _, files in walk(path, on_left_out)
        for name in files
        if is_librispeech_table(name)
    ]
    rows = (_librispeech_rows(table, files, on_left_out) for table, files in sorted(tables))
    return chain.from_iterable(rows) if tables else None


def _librispeech_rows(table: Path, files: Sequence[str], on_left_out: OnLeftOut) -> Iterator[Utterance]:
    if (reason := not_a_file(table)) is not None:
        return on_left_out(f"{table}: is {reason}, not a text file")
    try:
        lines = split_lines(read_text(table))
    except BadInputError as error:
        return on_left_out(str(error))
    recordings = {Path(name).stem: name for name in reversed(recordings_of(files))}
    for number, line in enumerate(lines, 1):
        name, _, text = line.strip().partition(" ")
        if name:
            location = f"{table}, line {number}"
            yield Utterance(
                audio=path_of(table.parent, recordings.get(name, f"{name}.flac"), location),
                text=one_spaced(text) or None,
                speaker=cleaned_name(name.partition("-")[0]) or None,
                location=location,
            )
