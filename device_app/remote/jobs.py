"""Jobs of this device on hosts, and the files of each job until its edit is in the ledger.

Each job has one folder with `job.json`, `dataset.tar`, and the task vector once it is downloaded. The
folder is created before the job is sent, and deleted only after its edit is in the ledger.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from device_app.adaptation.settings import AdaptationSettings, GatePolicy, MergeSettings, Orthography
from device_app.adaptation.training_set import TrainingSet
from device_app.models.bundles import model_in_use
from device_app.models.edited_bundle import EditedBundle
from device_app.paths import data_folder
from device_app.remote.archive import pack
from editing.errors import AsrEdgeError, BadInputError, StorageError, one_line
from editing.files import cannot_read, cannot_write, write_atomically
from editing.former_names import STATEMENT, translated
from editing.json_text import JSONTextError, read_json
from editing.privacy import make_folder
from editing.task_vector import Origin

ARCHIVE = "dataset.tar"
VECTOR = "vector.safetensors"
ABANDONED_S = 24 * 3600.0  # after which no archive is still being packed


@dataclass(frozen=True)
class Job:
    """A fine-tuning that a host runs for this device.

    Attributes:
        key: the name of the job on this device; the host creates only one job per key, however often it is sent.
        url: the URL of the host.
        model: name or folder of the model: the value of `--model`, or the model in use when the job was made; None in
            jobs of earlier versions.
        settings: the settings of the adaptation, including merge and gate, which run on this device.
        request: the request to the host, as it was sent.
        origin: metadata of the task vector.
        created: ISO 8601, UTC.
        identity: the identity of the job on the host; empty until the host has created it.
    """

    key: str
    url: str
    model: str | None
    settings: AdaptationSettings
    request: Mapping[str, Any]
    origin: Origin
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    identity: str = ""

    @property
    def folder(self) -> Path:
        return _folder() / self.key

    @property
    def size(self) -> int:
        """Size of the archive in bytes."""
        return int(self.request["dataset"]["bytes"])

    @property
    def vectors(self) -> frozenset[str]:
        """SHA-256 of the task vectors in the archive: those of the edits that the fine-tuning starts from."""
        return frozenset(digest for edit in self.request.get("edits", ()) for digest in edit["vectors"])

    def save(self) -> None:
        """Writes `job.json`.

        Raises:
            StorageError: it cannot be written.
        """
        content = json.dumps(_record(self), indent=1) + "\n"
        write_atomically(self.folder / "job.json", content.encode(), private=True)

    def delete(self) -> None:
        """Deletes the folder of the job."""
        (self.folder / "job.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _record(job: Job) -> dict[str, Any]:
    """A job as stored in `job.json`, where the settings of the adaptation are one flat record, "plan"."""
    settings, merge, gate = job.settings, job.settings.merge, job.settings.gate
    plan = {
        "domain": settings.domain,
        "method": merge.method,
        "settings": dict(merge.settings),
        "sweep": settings.sweep,
        "tolerance": gate.tolerance,
        "orthography": settings.orthography,
        "replay": settings.replay,
        "force": gate.force,
        "dry_run": gate.dry_run,
        "seed": settings.seed,
        "gains": gate.requires_gain,
    }
    return {
        "key": job.key,
        "url": job.url,
        "model": job.model,
        "plan": plan,
        "request": dict(job.request),
        "origin": asdict(job.origin),
        "created": job.created,
        "identity": job.identity,
    }


def _job(record: dict[str, Any]) -> Job:
    """Parses the record of a job.

    Raises:
        TypeError, KeyError, AttributeError: the record is invalid.
    """
    settings, origin = _settings(**record.pop("plan")), Origin(**record.pop("origin"))
    return Job(**record, settings=settings, origin=origin)


def _settings(
    domain: str,
    method: str = MergeSettings.method,
    settings: Mapping[str, Any] = MappingProxyType({}),
    sweep: bool = AdaptationSettings.sweep,
    tolerance: float = GatePolicy.tolerance,
    orthography: Orthography = AdaptationSettings.orthography,
    replay: int = AdaptationSettings.replay,
    force: bool = GatePolicy.force,
    dry_run: bool = GatePolicy.dry_run,
    seed: int = AdaptationSettings.seed,
    gains: bool = GatePolicy.requires_gain,
) -> AdaptationSettings:
    """Converts the "plan" of a job to settings of an adaptation."""
    return AdaptationSettings(
        domain=domain,
        merge=MergeSettings(method, dict(settings)),
        gate=GatePolicy(tolerance, force=force, dry_run=dry_run, requires_gain=gains),
        sweep=sweep,
        orthography=orthography,
        replay=replay,
        seed=seed,
    )


def _folder() -> Path:
    return data_folder() / "jobs"


def jobs() -> list[Job]:
    """The unfinished jobs of this device, the oldest first.

    Raises:
        StorageError: as `read_jobs`.
    """
    return read_jobs(_folder())


def read_jobs(folder: Path) -> list[Job]:
    """Reads the jobs in a folder, the oldest first, as `jobs` does for the data folder.

    Raises:
        StorageError: the file of a job is damaged or cannot be read; the message names it.
    """
    found = []
    for path in sorted(folder.glob("*/job.json")):
        try:
            record = translated(read_json(path), STATEMENT)
        except FileNotFoundError:  # another process has just finished or cancelled it
            continue
        except OSError as error:
            raise cannot_read(path, error) from error
        except JSONTextError as error:
            raise _damaged(path, error) from error
        try:
            if record["key"] != path.parent.name:  # `delete` removes the folder of this name
                raise ValueError("its key is not the name of its folder")
            if not all(isinstance(record.get(name, ""), str) for name in ("url", "created", "identity")):
                raise ValueError("its url, created or identity is not a text")
            found.append(job := _job(record))
            _ = job.vectors  # raises if the request is invalid
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(path, error) from error
    return sorted(found, key=lambda job: job.created)


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{path}: is damaged ({one_line(str(error))}); 'asr-edge restore FILE' brings it back from a backup; without "
        "one, remove its folder and adapt again"
    )


def remove_abandoned(older_than_s: float = 0.0) -> None:
    """Removes the folders of killed commands that have an archive of recordings, but no `job.json` yet or any more.

    Args:
        older_than_s: seconds since the last change of the folder, so that one that is being packed stays.
    """
    for folder in _folder().glob("*/"):
        with suppress(OSError):  # another process has just removed it
            changed = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if not (folder / "job.json").exists() and time.time() - changed >= older_than_s:
                shutil.rmtree(folder)


def find_job(name: str) -> Job:
    """Finds a job by a prefix of its key or of its identity on the host.

    Raises:
        BadInputError: no job matches, or more than one.
    """
    matching = [job for job in jobs() if name and (job.key.startswith(name) or job.identity.startswith(name))]
    if len(matching) != 1:
        which = f"the IDs of {len(matching)} jobs begin with {name}" if matching else f"there is no job {name}"
        raise BadInputError(f"{which}; 'asr-edge jobs' lists the unfinished jobs of this device")
    return matching[0]


def pack_job(
    training_set: TrainingSet,
    settings: AdaptationSettings,
    url: str,
    model: str | None,
    finetuning: Mapping[str, Any],
    *,
    send_held_out: bool = False,
) -> Job:
    """Creates a job with its archive on this device. Sends nothing.

    Args:
        training_set: to fine-tune on.
        settings: the settings of the adaptation, including merge and gate, which run on this device.
        url: the URL of the host.
        model: the value of `--model`; None is the model in use.
        finetuning: settings of the fine-tuning, for the request to the host.
        send_held_out: also pack the held-out utterances, for early stopping on the host.

    Raises:
        BadInputError: there is an unfinished job for this domain.
        StorageError: the disk is full or cannot be written.
    """
    for other in jobs():
        if other.settings.domain == settings.domain:
            raise BadInputError(
                f"{other.url} is already fine-tuning on {settings.domain} (job {other.key[:8]}): 'asr-edge jobs "
                f"attach {other.key[:8]}' waits for it, 'asr-edge jobs cancel {other.key[:8]}' cancels it"
            )
    remove_abandoned(ABANDONED_S)
    key = secrets.token_hex(16)
    folder = _folder() / key
    try:
        make_folder(folder)
        edits, vectors = _edits(training_set)
        held_out = training_set.held_out if send_held_out else ()
        digest = pack(folder / ARCHIVE, training_set.training, held_out, vectors)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(folder, error) from error
    request = {
        "key": key,
        "base": training_set.origin.base,
        "edits": edits,
        "dataset": {"sha256": digest, "bytes": (folder / ARCHIVE).stat().st_size},
        "settings": {**finetuning, "density": kept_density(settings)},
    }
    # The name, because another model may be in use when the job is done.
    job = Job(key, url, model or model_in_use(), settings, request, training_set.origin)
    job.save()
    return job


def kept_density(settings: AdaptationSettings) -> float:
    """The fraction of entries of the task vector that the merge on the device needs, and the device requests.

    TIES with one vector only trims it, which the host can do, so that the download is smaller. Other methods, a
    density over the whole vector and a sweep need all entries.
    """
    merge = settings.merge.with_defaults(vectors=1)
    is_only_trimmed = settings.merge.method == "ties" and merge["scope"] == "tensor"
    return float(merge["density"]) if is_only_trimmed and not settings.sweep else 1.0


def _edits(training_set: TrainingSet) -> tuple[list[dict[str, Any]], list[Path]]:
    """The edits of the version to start from, from which the host rebuilds it, and the files of their vectors."""
    bundle = training_set.bundle
    if not isinstance(bundle, EditedBundle):
        return [], []
    edits = [{"vectors": list(a.vectors), "method": a.method, "settings": dict(a.settings)} for a in bundle.applied]
    return edits, bundle.vector_paths()
