"""Manifests: recordings and what is said in them, one JSON object a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from editing.json_text import parse_json

# NeMo, then Moonshine and Hugging Face datasets, then audiofolder's metadata.jsonl.
AUDIO_KEYS = ("audio_filepath", "audio", "file_name")
TEXT_KEYS = ("text", "transcription", "sentence")


def read_manifest(path: Path, split: str | None = None) -> list[Utterance]:
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
    utterances = list(read_lines(path))
    for one in utterances:
        if not one.file.is_file():
            raise BadInputError(f"{one.place}: the recording {one.audio} is missing")
    chosen = [one for one in utterances if split is None or one.split == split]
    if not chosen:
        having = sorted({one.split for one in utterances} - {""})
        of_split = f" of split {split!r} (it has {', '.join(having) or 'no splits'})" if split else ""
        raise BadInputError(f"{path}: has no utterances{of_split}")
    twice = [identity for identity, count in Counter(one.id for one in chosen).items() if count > 1]
    if twice:
        raise BadInputError(f'{path}: {twice[0]!r} stands there more than once; give each line an "id" of its own')
    return chosen


def read_lines(path: Path) -> Iterator[Utterance]:
    """The utterances of a manifest, whether their recordings exist or not; those with an empty text are not labelled.

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
            yield _utterance(path, number, line)


def inside(folder: Path, name: str, place: str) -> Path:
    """A file that a corpus names: absolute, or relative to the corpus and not outside it.

    Raises:
        BadInputError: it climbs out of the folder; `place` says where that is written.
    """
    found = folder / name
    if not Path(name).is_absolute() and not found.resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"{place}: {name} climbs out of the folder")
    return found


def _utterance(manifest: Path, number: int, line: str) -> Utterance:
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
    return Utterance(
        id=str(record.get("id", audio)),
        audio=inside(manifest.parent, audio, place),
        text=text or None,
        speaker=str(record.get("speaker", "")) or None,
        split=str(record.get("split", "")),
        place=place,
    )


def _first(record: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((record[key] for key in keys if key in record), None)
