"""All that the tests of the frozen files know of today's code; when something is moved or renamed, change this alone.

The tests speak as the files do, in the words of commit 767e81d: `heard`, `canary`, `remix`. Where today's commands say
it otherwise, a function here translates.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import call

NOT_PROMOTED = 3  # exit code where the gate keeps the model as it was

SCOPES = {"hearing": "acoustic"}  # former names and today's
WORDS = {  # today's names and the former ones
    "general speech": "canary",
    "general_speech_before": "canary_before",
    "general_speech_after": "canary_after",
    "hypothesis": "heard",
    "recognition_s": "hearing_s",
}


def asr(home: Path, *arguments: object, code: int = 0) -> str:
    """Runs a command of asr-edge on a data folder, in this process; its standard output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_EDGE_HOME", str(home))
        return call(*arguments, code=code).stdout


def _former(document: str) -> Any:
    """A JSON document in the words of the frozen files."""
    return _in_former_words(json.loads(document))


def _in_former_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {WORDS.get(key, key): _in_former_words(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_in_former_words(one) for one in value]
    return WORDS.get(value, value.replace("reweight ", "remix ")) if isinstance(value, str) else value


# The store


def domains(home: Path) -> list[dict[str, Any]]:
    """Of each: domain, utterances, unlabelled, test, speakers, seconds."""
    return _former(asr(home, "dataset", "list", "--json"))


def utterances(home: Path, domain: str) -> list[dict[str, Any]]:
    """All that is known of each; the keys are the columns of store.sqlite3, and "domain", "speaker", "audio"."""
    return _former(asr(home, "dataset", "show", domain, "--limit", 1000, "--json"))


def import_manifest(home: Path, manifest: Path, domain: str) -> int:
    """How many of its recordings were new."""
    return int(_former(asr(home, "import", manifest, "--domain", domain, "--json"))["imported"])


def label(home: Path, utterance: int, text: str) -> None:
    asr(home, "label", "set", utterance, text)


def correct_last(home: Path, text: str) -> None:
    """Corrects the hypothesis that was kept last."""
    asr(home, "correct", "--last", text)


def damage(home: Path) -> list[dict[str, str]]:
    """What `asr-edge doctor` finds: "kind", "line", "remedy" of each; nothing is changed."""
    return _former(asr(home, "doctor", "--dry-run", "--json"))["findings"]


# Edits and versions


def ledger(home: Path, model: str) -> dict[str, Any]:
    """As ledger.json has them: base, current, edits and versions; edits also have "state" and "bytes"."""
    return _former(asr(home, "log", "--model", model, "--json"))


def edit(home: Path, model: str, number: int) -> dict[str, Any]:
    """An edit as ledger.json has it; and "state", "bytes", "task_vectors"."""
    return _former(asr(home, "show", number, "--model", model, "--json"))


def report(home: Path, model: str) -> dict[str, Any]:
    """What it shows: "domains"; "versions", each with "version", "why" and "wer"."""
    return _former(asr(home, "report", "--model", model, "--json"))


def revert(home: Path, model: str, number: int) -> None:
    asr(home, "revert", number, "--model", model)


def reweight(home: Path, model: str, number: int, lam: float) -> dict[str, Any]:
    """What came of it: "promoted", "version", "domains" with WER "before" and "after" of each."""
    return _former(asr(home, "reweight", number, "--lambda", lam, "--force", "--model", model, "--json"))


def roll_back(home: Path, model: str) -> None:
    asr(home, "rollback", "--model", model)


def weights(home: Path, model: str, version: int) -> Mapping[str, np.ndarray]:
    """A version's weights, its edits applied again."""
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    with _home(home):
        found = Ledger(find_bundle(model))
        return found.bundle(found.find_version(version)).weights()


def vector_folder(home: Path) -> Path:
    """Where the task vectors of the one ledger in a data folder are."""
    (found,) = (home / "ledgers").glob("*/vectors")
    return found


# Task vectors


def task_vector(path: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """A file's tensors, and where it says that it comes from."""
    from editing.task_vector import TaskVector

    vector = TaskVector.load(path)
    return vector.tensors, _in_former_words(asdict(vector.origin))


def cosine(one: Path, other: Path) -> float:
    from editing.task_vector import TaskVector

    return TaskVector.load(one).cosine(TaskVector.load(other))


# Models


def models(home: Path) -> list[dict[str, str]]:
    """Of each: name, family, licence, origin."""
    return _former(asr(home, "model", "list", "--json"))


def weights_hash(folder: Path) -> str:
    """A bundle's, by which task vectors name it; every file of the bundle is compared with its hash."""
    from export.bundle import Bundle

    bundle = Bundle.open(folder)
    bundle.check()
    return bundle.weights_hash


def transcribe(home: Path, model: str, precision: str, *recordings: Path) -> list[dict[str, Any]]:
    """A JSON document for each."""
    arguments = ("--model", model, "--precision", precision, "--format", "json", "--threads", 1)
    found = _former(asr(home, "transcribe", *recordings, *arguments))
    return found if isinstance(found, list) else [found]


# Fine-tuning


def adapt(home: Path, model: str, domain: str, *, scope: str, epochs: int, seed: int) -> dict[str, Any]:
    """What came of it: "promoted", "version", "losses" of each epoch, "tuning_s", "norm"."""
    how = ("--scope", SCOPES.get(scope, scope), "--epochs", epochs, "--seed", seed)
    return _former(asr(home, "adapt", "--model", model, "--domain", domain, *how, "--force", "--json"))


def train(home: Path, manifest: Path, out: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    """What came of it: "losses" and "held_out" of each epoch, "seconds", "audio_s"."""
    found = _former(asr(home, "train", manifest, "--out", out, "--epochs", epochs, "--seed", seed, "--json"))
    return {**found, "losses": found["training_losses"], "held_out": found["validation_losses"]}


# The benchmark


def lifelong_run(home: Path, config: Path) -> dict[str, Any]:
    """What results.json holds."""
    return _former(asr(home, "lifelong", "run", config, "--json"))


def lifelong_sweep(home: Path, config: Path, utterances: int) -> dict[str, Any]:
    """What sweep.json holds."""
    return _former(asr(home, "lifelong", "sweep", config, "--utterances", utterances, "--json"))


# Hosts, as devices see them


def trusted(home: Path) -> dict[str, dict[str, Any]]:
    """By URL: "key", "authority", "token", "consent"."""
    from device_app.remote.trusted_hosts import hosts

    with _home(home):
        return {url: asdict(host) for url, host in hosts().items()}


def jobs(home: Path) -> list[dict[str, Any]]:
    """Of each: id, host, domain, created; and what the host says: state, place, error."""
    return _former(asr(home, "jobs", "--json"))


def attach(home: Path, job: str) -> dict[str, Any]:
    """Waits for a job; what came of it: "promoted", "version", "edit", "losses"."""
    return _former(asr(home, "jobs", "attach", job[:8], "--threads", 1, "--json"))


def pull_from_group(home: Path, group: str, url: str, model: str) -> dict[str, Any]:
    """What came of it: "promoted", "version", "edit"."""
    return _former(asr(home, "fleet", "pull", "--group", group, "--on", url, "--model", model, "--force", "--json"))


# Hosts themselves


def fingerprint(home: Path) -> str:
    """Of a host's keys; its certificate is made anew."""
    return asr(home, "host", "init", "localhost").strip()


def devices(home: Path) -> list[dict[str, Any]]:
    """Of each: id, name, fleet, created, revoked."""
    return _former(asr(home, "host", "token", "list", "--json"))


def merge_group(home: Path, group: str, model: str) -> dict[str, Any]:
    """What came of it: "judged" devices, "canary_before", "canary_after", the hash of the "vector", "reasons"."""
    how = ("--group", group, "--model", model, "--min-devices", 1, "--tolerance", 90, "--threads", 1, "--json")
    return _former(asr(home, "host", "fleet", "merge", *how))


@contextlib.contextmanager
def serving(home: Path, port: int) -> Iterator[None]:
    """A host that listens on loopback, as a process of its own."""
    command = [sys.executable, "-m", "device_app", "host", "serve", "--no-tls", "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "ASR_EDGE_HOME": str(home)})
    try:
        end = time.monotonic() + 120
        while True:
            assert server.poll() is None, "the host has ended"
            assert time.monotonic() < end, "the host does not listen"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(30)


# What golden numbers are measured with; see measure.py


def write_task_vector(model: Path, recordings: Mapping[Path, str], out: Path) -> None:
    """Fine-tunes a bundle on recordings and their texts, always the same way, and writes the task vector's file."""
    from device_app.adaptation.training_set import TrainingSet
    from device_app.data.utterance import Utterance
    from editing.task_vector import Origin
    from export.bundle import Bundle
    from trainer.training.finetuning import finetune_for_training_set
    from trainer.training.settings import FineTuningSettings

    bundle = Bundle.open(model)
    labelled = [Utterance(audio=path, text=text) for path, text in recordings.items()]
    origin = Origin(bundle.family, bundle.weights_hash, "golden", "2026-01-02T03:04:05+00:00", len(labelled), 1.0)
    training_set = TrainingSet(bundle, labelled, [], origin)  # by what is held out, it might keep the start
    settings = FineTuningSettings(epochs=4, learning_rate=1e-3, batch_s=20.0, augment=True, seed=11)
    vector = finetune_for_training_set(training_set, settings).vector
    out.write_bytes(vector.to_bytes())


def bake_int8(model: Path | None, vector: Path | None, out: Path) -> list[Path]:
    """The int8 files of a bundle (None: the embedded one), a task vector added to its weights."""
    from device_app.models.bundles import find_bundle
    from editing.task_vector import TaskVector, apply
    from export.bake import bake

    bundle = find_bundle(None if model is None else str(model))
    found = bundle.weights()
    if vector is not None:
        found = apply(found, TaskVector.load(vector).scaled(0.6).tensors)
    return bake(bundle, found, "int8", out)


def bake_version() -> int:
    from export.bundle import BAKE_VERSION

    return BAKE_VERSION


def bundled_recordings() -> list[Path]:
    """Those that come with asr-edge, in the order of their names."""
    from device_app.paths import RECORDINGS

    return sorted(RECORDINGS.glob("*.flac"))


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("ASR_EDGE_HOME")
    os.environ["ASR_EDGE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ASR_EDGE_HOME"]
        else:
            os.environ["ASR_EDGE_HOME"] = before
