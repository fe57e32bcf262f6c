"""The files in the folder of one job.

request.json            the device's request; missing if the job was cancelled
dataset.tar             the archive that the device uploads
dataset/                the unpacked archive; its index.json lists the utterances
progress.json           the progress of the fine-tuning
checkpoint.safetensors  from which a killed fine-tuning resumes
vector.safetensors      the task vector
result.json             the result or the error; written last
lock                    locked by the worker
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
from device_app.remote.archive import ArchiveContents, unpack
from editing.files import write_atomically
from editing.former_names import FINE_TUNING, translated
from editing.json_text import read_json
from editing.lock import locked


@dataclass(frozen=True)
class JobFolder:
    """The files of one job."""

    path: Path

    @property
    def request_file(self) -> Path:
        return self.path / "request.json"

    @property
    def archive(self) -> Path:
        """The part of the dataset that has been received."""
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
        """The task vector; exists once the fine-tuning has finished."""
        return self.path / "vector.safetensors"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the job against other workers; waits while another worker runs it.

        Raises:
            OSError: the folder is missing or cannot be written.
        """
        lock = self.path / "lock"
        lock.touch(0o600)
        with locked(lock, wait=True):
            yield

    # Request, progress and result

    def has_request(self) -> bool:
        """Whether the job can run; False after it was cancelled."""
        return self.request_file.is_file()

    def has_result(self) -> bool:
        """Whether the job has ended."""
        return self.result_file.is_file()

    def read_request(self) -> dict[str, Any]:
        """The device's request, which was validated when it was received."""
        request: dict[str, Any] = translated(json.loads(self.request_file.read_text("utf-8")), FINE_TUNING)
        return request

    def write_request(self, request: Mapping[str, Any]) -> None:
        """Writes the request of the job.

        Raises:
            StorageError: the file cannot be written.
        """
        write_atomically(self.request_file, json.dumps(request).encode())

    def read_progress(self) -> dict[str, Any] | None:
        """The progress of the fine-tuning; None if it has not started."""
        return _read(self.progress_file)

    def write_progress(self, record: Mapping[str, float]) -> None:
        """Replaces the progress file. It is not synced, because it is useless after a power cut."""
        temporary = self.progress_file.with_name(f"{self.progress_file.name}.new")
        temporary.touch(0o600)
        temporary.write_text(json.dumps(record), "utf-8")
        temporary.replace(self.progress_file)

    def read_result(self) -> dict[str, Any] | None:
        """The result or error of the job; None if the worker left no readable file."""
        return _read(self.result_file)

    def write_result(self, digest: str, losses: Sequence[float], seconds: float) -> None:
        """Records that the job succeeded.

        Args:
            digest: SHA-256 of the task vector's file.
            losses: the training loss of each epoch.
            seconds: the duration of the fine-tuning.

        Raises:
            StorageError: the file cannot be written.
        """
        self._write_result({"vector": digest, "losses": list(losses), "seconds": seconds})

    def write_error(self, error: Exception) -> None:
        """Records that the job failed. Removes the folder's path from the message, which the device receives.

        Raises:
            StorageError: the file cannot be written.
        """
        self._write_result({"error": str(error).replace(str(self.path), "")[:500]})

    def _write_result(self, result: Mapping[str, Any]) -> None:
        write_atomically(self.result_file, json.dumps(result).encode())

    # The dataset

    def unpack(self) -> Sequence[Utterance]:
        """Unpacks the archive, replacing an earlier attempt; returns the training utterances.

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

    def unpacked(self) -> ArchiveContents:
        """The contents of the archive after `unpack`, for any process that shares the folder."""
        record = json.loads(self._index.read_text("utf-8"))
        training, held_out = (
            [Utterance(audio=self.dataset / "audio" / name, text=text) for name, text in record[part]]
            for part in ("training", "held_out")
        )
        return ArchiveContents(training, held_out, {path.stem: path for path in (self.dataset / "vectors").iterdir()})

    # Removing

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_recordings(self, *, keep_archive: bool) -> None:
        """Removes all files except the task vector and, if requested, the archive."""
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
