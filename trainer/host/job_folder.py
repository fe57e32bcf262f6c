"""The folder of one job: what its files are called, and how they are read and written.

request.json           what the device asked for; without it, there is nothing to do
dataset.tar            the archive that the device uploads
dataset/               the archive, unpacked; index.json in it lists the utterances
progress.json          where the fine-tuning is, while it runs
checkpoint.safetensors
                       where it goes on after a kill
vector.safetensors     the task vector
result.json            what became of the job; written last
lock                   held by the worker
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_app.data.utterance import Utterance
from device_app.remote.archive import Unpacked, unpack
from editing.files import locked, write_atomically
from editing.former_names import FINE_TUNING, translated
from editing.json_text import read_json


@dataclass(frozen=True)
class JobFolder:
    """The files of one job."""

    path: Path

    @property
    def request_file(self) -> Path:
        return self.path / "request.json"

    @property
    def archive(self) -> Path:
        """The dataset, as far as it has come."""
        return self.path / "dataset.tar"

    @property
    def dataset(self) -> Path:
        """The folder into which the archive is unpacked."""
        return self.path / "dataset"

    @property
    def _index(self) -> Path:
        return self.dataset / "index.json"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def vector(self) -> Path:
        """The task vector, once there is one."""
        return self.path / "vector.safetensors"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other worker does the job, and keeps others out.

        Raises:
            OSError: the folder is missing or cannot be written.
        """
        lock = self.path / "lock"
        lock.touch(0o600)
        with locked(lock, wait=True):
            yield

    # The request and what became of it

    def has_request(self) -> bool:
        """Whether there is something to do: False where the job was cancelled."""
        return self.request_file.is_file()

    def has_result(self) -> bool:
        """Whether the job has ended."""
        return self.result_file.is_file()

    def read_request(self) -> dict[str, Any]:
        """What the device asked for; it was checked when it came."""
        request: dict[str, Any] = translated(json.loads(self.request_file.read_text("utf-8")), FINE_TUNING)
        return request

    def write_request(self, request: Mapping[str, Any]) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(self.request_file, json.dumps(request).encode())

    def read_progress(self) -> dict[str, Any] | None:
        """Where the fine-tuning is; None if it has not begun."""
        return _read(self.progress_file)

    def write_progress(self, record: Mapping[str, float]) -> None:
        """Replaces the progress. It is of no use after a power cut, so it is not synced."""
        temporary = self.progress_file.with_name(f"{self.progress_file.name}.new")
        temporary.touch(0o600)
        temporary.write_text(json.dumps(record), "utf-8")
        temporary.replace(self.progress_file)

    def read_result(self) -> dict[str, Any] | None:
        """What became of the job; None where a worker has left nothing that can be read."""
        return _read(self.result_file)

    def write_result(self, digest: str, losses: Sequence[float], seconds: float) -> None:
        """Ends the job well.

        Args:
            digest: SHA-256 of the task vector's file.
            losses: of the epochs.
            seconds: that the fine-tuning took.

        Raises:
            StorageError: it cannot be written.
        """
        self._write_result({"vector": digest, "losses": list(losses), "seconds": seconds})

    def write_error(self, error: Exception) -> None:
        """Ends the job with an error; where the folder is, is nobody's business.

        Raises:
            StorageError: it cannot be written.
        """
        self._write_result({"error": str(error).replace(str(self.path), "")[:500]})

    def _write_result(self, result: Mapping[str, Any]) -> None:
        write_atomically(self.result_file, json.dumps(result).encode())

    # The dataset

    def unpack(self) -> Sequence[Utterance]:
        """Unpacks the archive, anew if that was begun before; returns the utterances to train on.

        Raises:
            BadInputError: the archive is damaged.
            OSError: the folder cannot be written.
        """
        shutil.rmtree(self.dataset, ignore_errors=True)
        unpacked = unpack(self.archive, self.dataset)
        record = {
            "training": [[one.file.name, one.text] for one in unpacked.training],
            "held_out": [[one.file.name, one.text] for one in unpacked.held_out],
        }
        write_atomically(self._index, json.dumps(record).encode())
        return unpacked.training

    def unpacked(self) -> Unpacked:
        """What `unpack` left, for any process that shares the folder."""
        record = json.loads(self._index.read_text("utf-8"))
        training, held_out = (
            [Utterance(audio=self.dataset / "audio" / name, text=text) for name, text in record[part]]
            for part in ("training", "held_out")
        )
        return Unpacked(training, held_out, {path.stem: path for path in (self.dataset / "vectors").iterdir()})

    # Removing

    def remove(self) -> None:
        """Removes all there is of the job."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_recordings(self, *, keep_archive: bool) -> None:
        """Removes all but the task vector, and the archive where it is to be kept."""
        for path in self.path.glob("*"):
            if path == self.vector or (keep_archive and path == self.archive):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return None
    return record
