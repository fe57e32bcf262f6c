"""Manifests: recordings and what is said in them, one JSON object a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import BadInputError
from editing.json_text import parse_json

# NeMo, then Moonshine and Hugging Face datasets, then audiofolder's metadata.jsonl.
AUDIO_KEYS = ("audio_filepath", "audio", "file_name")
TEXT_KEYS = ("text", "transcription", "sentence")


@dataclass(frozen=True)
class Entry:
    """One utterance of a manifest.

    Attributes:
        id: the line's "id", or else its audio path as written; unique in its manifest.
        audio: its file.
        text: what is said.
        speaker, split: as given, or "".
        place: the manifest and the line, for error messages.
    """

    id: str
    audio: Path
    text: str
    speaker: str
    split: str
    place: str


def read_manifest(path: Path, split: str | None = None) -> list[Entry]:
    """Reads a manifest as NeMo, Moonshine and Hugging Face tools write it.

    A line has "audio_filepath", "audio" or "file_name" (absolute, or relative to the manifest and
    inside its folder) and "text" or "transcription"; "speaker", "split" and "id" if there are any.

    Args:
        path: the manifest.
        split: only lines of this split.

    Raises:
        BadInputError: it cannot be read, a line is not as above, a recording is missing, or
            nothing is left. The text names the line.
    """
    entries = list(read_lines(path))
    for entry in entries:
        if not entry.audio.is_file():
            raise BadInputError(f"{entry.place}: the recording {entry.audio} is missing")
    chosen = [entry for entry in entries if split is None or entry.split == split]
    if not chosen:
        having = sorted({entry.split for entry in entries} - {""})
        of_split = f" of split {split!r} (it has {', '.join(having) or 'no splits'})" if split else ""
        raise BadInputError(f"{path}: has no utterances{of_split}")
    twice = [identity for identity, count in Counter(entry.id for entry in chosen).items() if count > 1]
    if twice:
        raise BadInputError(f'{path}: {twice[0]!r} stands there more than once; give each line an "id" of its own')
    return chosen


def read_lines(path: Path) -> Iterator[Entry]:
    """The entries of a manifest, whether their recordings exist or not.

    Raises:
        BadInputError: it cannot be read, or a line is not as in `read_manifest`.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as a manifest ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _entry(path, number, line)


def inside(folder: Path, name: str, place: str) -> Path:
    """A file that a corpus names: absolute, or relative to the corpus and not outside it.

    Raises:
        BadInputError: it climbs out of the folder; `place` says where that is written.
    """
    found = folder / name
    if not Path(name).is_absolute() and not found.resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"{place}: {name} climbs out of the folder")
    return found


def _entry(manifest: Path, number: int, line: str) -> Entry:
    place = f"{manifest}, line {number}"
    try:
        record: Any = parse_json(line)
    except ValueError as error:
        raise BadInputError(f"{place}: not JSON ({error}); expected one object a line") from error
    if not isinstance(record, dict):
        raise BadInputError(f"{place}: expected a JSON object")
    audio = _first(record, AUDIO_KEYS)
    text = _first(record, TEXT_KEYS)
    if not isinstance(audio, str) or not audio:
        raise BadInputError(f'{place}: has no "audio" (or "audio_filepath")')
    if not isinstance(text, str):
        raise BadInputError(f'{place}: has no "text"')
    return Entry(
        id=str(record.get("id", audio)),
        audio=inside(manifest.parent, audio, place),
        text=text,
        speaker=str(record.get("speaker", "")),
        split=str(record.get("split", "")),
        place=place,
    )


def _first(record: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((record[key] for key in keys if key in record), None)
