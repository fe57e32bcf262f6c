"""Exports a domain as a folder for other tools: NeMo and Moonshine manifests, or Hugging Face audiofolder."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from device_app.data.formats import DatasetFormat
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance
from editing.errors import BadInputError
from editing.files import folder_in_one_step


def export_domain(
    store: Store, domain: str, form: DatasetFormat, out: Path, on_done: Callable[[int], None] = lambda _count: None
) -> int:
    """Writes the labelled utterances of a domain into a new folder; returns how many.

    Args:
        store: the store.
        domain: the name of the domain.
        form: the format.
        out: the new folder.
        on_done: called with the number of utterances that were written since the last call.

    Raises:
        BadInputError: there is no such domain, it has no labelled utterance, a recording cannot be read, or `out` is in
            use.
        StorageError: `out` cannot be written; it is unchanged.
    """
    chosen = [utterance for utterance in store.utterances(domain) if utterance.text is not None]
    if not chosen:
        raise BadInputError(f"{domain}: has no labelled utterances")
    with folder_in_one_step(out) as folder:
        (folder / "audio").mkdir()
        for utterance in chosen:
            try:
                with utterance.audio.open("rb"):
                    pass
            except OSError as error:  # otherwise `out` would be blamed
                raise BadInputError(
                    f"utterance {utterance.number}: {utterance.audio}: cannot be read ({error.strerror or error}); "
                    "nothing was written. 'asr-edge doctor' says what can be done"
                ) from error
            shutil.copyfile(utterance.audio, folder / "audio" / _audio_name(utterance))
            on_done(1)
        name, text = _TABLES[form](chosen)
        (folder / name).write_text(text, "utf-8")
    return len(chosen)


def _audio_name(utterance: StoredUtterance) -> str:
    return f"{utterance.number:06}.flac"


def _nemo(utterances: Sequence[StoredUtterance]) -> tuple[str, str]:
    """NeMo reads `audio_filepath`, Moonshine's trainer `audio`; both take paths relative to the manifest."""
    lines = (
        {
            "audio_filepath": f"audio/{_audio_name(u)}",
            "audio": f"audio/{_audio_name(u)}",
            "text": u.text,
            "duration": round(u.duration_s, 3),
            "speaker": u.speaker or "",
            "split": u.split,
        }
        for u in utterances
    )
    return "manifest.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _audiofolder(utterances: Sequence[StoredUtterance]) -> tuple[str, str]:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["file_name", "transcription", "speaker", "split"])
    writer.writerows([f"audio/{_audio_name(u)}", u.text, u.speaker or "", u.split] for u in utterances)
    return "metadata.csv", table.getvalue()


# Functions that return the name and the text of the table that lists the recordings.
_TABLES = {DatasetFormat.NEMO: _nemo, DatasetFormat.AUDIOFOLDER: _audiofolder}
