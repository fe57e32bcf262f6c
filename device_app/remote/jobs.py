"""Jobs that this device has sent to hosts, and what is stored of each until its edit is in the ledger.

Everything is in one folder a job: `job.json`, `dataset.tar`, and the task vector once it is here. A
job is in the folder before the host receives it, and leaves it only when its edit is in the ledger.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from device_app.adaptation.settings import AdaptationSettings, GatePolicy, MergeSettings, Orthography
from device_app.adaptation.training_set import TrainingSet
from device_app.models.edited_bundle import EditedBundle
from device_app.paths import data_folder
from device_app.remote.archive import pack
from editing.errors import AsrEdgeError, BadInputError, StorageError, one_line
from editing.files import cannot_write, make_folder, write_atomically
from editing.former_names import STATEMENT, translated
from editing.json_text import read_json
from editing.task_vector import Origin

ARCHIVE = "dataset.tar"
VECTOR = "vector.safetensors"


@dataclass(frozen=True)
class Job:
    """A fine-tuning that a host does for this device.

    Attributes:
        key: its name here; the host makes one job of it, however often it is sent.
        url: of the host.
        model: what `--model` said.
        settings: of the adaptation: how the task vector will be merged and judged here.
        request: what the host was asked, as it was sent.
        origin: metadata of the task vector.
        created: ISO 8601, UTC.
        identity: of the job on the host; empty until the host has it.
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
        """Bytes to send."""
        return int(self.request["dataset"]["bytes"])

    def save(self) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        content = json.dumps(_record(self), indent=1) + "\n"
        write_atomically(self.folder / "job.json", content.encode(), private=True)

    def forget(self) -> None:
        """Removes what there is of it here."""
        (self.folder / "job.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _record(job: Job) -> dict[str, Any]:
    """A job as `job.json` has it: the settings of the adaptation are one flat record there, "plan"."""
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
    """
    Raises:
        TypeError, KeyError, AttributeError: it is not the record of a job.
    """
    settings, origin = _settings(**record.pop("plan")), Origin(**record.pop("origin"))
    return Job(**record, settings=settings, origin=origin)


def _settings(
    domain: str,
    method: str = "ties",
    settings: Mapping[str, Any] = MappingProxyType({}),
    sweep: bool = False,
    tolerance: float = 0.01,
    orthography: Orthography = "keep",
    replay: int = 0,
    force: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    gains: bool = True,
) -> AdaptationSettings:
    """The settings of an adaptation from the keys of a job's "plan"."""
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
    """Jobs that have not come back yet, the oldest first. What a kill left of others is removed.

    Raises:
        StorageError: the record of one is damaged.
    """
    found = []
    for path in sorted(_folder().glob("*/job.json")):
        try:
            record = translated(read_json(path), STATEMENT)
            if record["key"] != path.parent.name:  # the folder that `forget` removes
                raise ValueError("it is another job's")
            found.append(_job(record))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            said = one_line(str(error))
            raise StorageError(f"{path}: is damaged ({said}); remove its folder, and adapt again") from error
    return sorted(found, key=lambda job: job.created)


def find_job(name: str) -> Job:
    """A job by the beginning of its key, or of its identity on the host.

    Raises:
        BadInputError: there is none, or more than one.
    """
    matching = [job for job in jobs() if name and (job.key.startswith(name) or job.identity.startswith(name))]
    if len(matching) != 1:
        which = f"{len(matching)} jobs begin with {name}" if matching else f"there is no job {name}"
        raise BadInputError(f"{which}; 'asr-edge jobs' lists what this device waits for")
    return matching[0]


def pack_job(
    training_set: TrainingSet,
    settings: AdaptationSettings,
    url: str,
    model: str | None,
    finetuning: Mapping[str, Any],
    *,
    score_remotely: bool = False,
) -> Job:
    """Puts together what a host needs. Nothing is sent yet.

    Args:
        training_set: to fine-tune on.
        settings: of the adaptation: how the task vector will be merged and judged here.
        url: of the host.
        model: as `--model` named it.
        finetuning: settings of the fine-tuning.
        score_remotely: send the held-out utterances too: they decide when the host stops.

    Raises:
        BadInputError: a job for this domain is under way already.
        StorageError: the disk is full or cannot be written.
    """
    for other in jobs():
        if other.settings.domain == settings.domain:
            raise BadInputError(
                f"{settings.domain} is being learnt on {other.url} already (job {other.key[:8]}): 'asr-edge jobs "
                f"attach {other.key[:8]}' waits for it, 'asr-edge jobs cancel {other.key[:8]}' gives it up"
            )
    key = secrets.token_hex(16)
    folder = _folder() / key
    try:
        make_folder(folder)
        edits, vectors = _edits(training_set)
        held_out = training_set.held_out if score_remotely else ()
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
    job = Job(key, url, model, settings, request, training_set.origin)
    job.save()
    return job


def kept_density(settings: AdaptationSettings) -> float:
    """The fraction of the vector's entries that the device can make use of, and therefore asks for."""
    merge = settings.merge.with_defaults(vectors=1)
    is_only_trimmed = settings.merge.method == "ties" and merge["scope"] == "tensor"
    return float(merge["density"]) if is_only_trimmed and not settings.sweep else 1.0


def _edits(training_set: TrainingSet) -> tuple[list[dict[str, Any]], list[Path]]:
    """The edits of the version to start from, so that the host can make it again; and their files."""
    bundle = training_set.bundle
    if not isinstance(bundle, EditedBundle):
        return [], []
    edits = [{"vectors": list(a.vectors), "method": a.method, "settings": dict(a.settings)} for a in bundle.applied]
    return edits, bundle.vector_paths()
