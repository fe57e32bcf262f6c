"""A data folder with something of everything: recordings, edits of two domains, terms, a host and a job."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.data.store import Store
from device_app.data.terms import Term, change_terms, stored_terms
from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Edit, Ledger
from device_app.remote.jobs import Job, jobs
from device_app.remote.trusted_hosts import Host, hosts, save_host
from editing.files import sha256
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle
from tests.device_app.data.repair.test_utterances import new

SETTINGS = {"lam": 0.6, "density": 0.5}
DOMAINS = ("kitchen", "garden")
SPEAKERS = ("anna", "ben")
HOST = "https://box:8443"


def small_vector(bundle: Bundle, domain: str, seed: int) -> TaskVector:
    """A task vector that changes one small tensor."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in bundle.shapes().items()}
    changed = tensors["model.decoder.norm.weight"]
    changed += np.random.default_rng(seed).standard_normal(changed.shape, np.float32) * np.float32(1e-3)
    return TaskVector(tensors, Origin(bundle.family, bundle.weights_hash, domain)).as_stored()


def add_edit(ledger: Ledger, domain: str, seed: int) -> None:
    with ledger.changing():
        number = len(ledger.edits) + 1
        name = ledger.store_vector(small_vector(ledger.base, domain, seed))
        edit = Edit(number, "adapt", [domain], [name], "ties", SETTINGS, before={domain: 0.5}, after={domain: 0.25})
        ledger.promote(ledger.with_edit(edit), edit)


def fill(*, with_job: bool = True) -> None:
    """Fills the data folder."""
    with Store() as store:
        for place, domain in enumerate(DOMAINS):
            speaker = SPEAKERS[place]
            store.add([new(10 * place + n, domain=domain, speaker=speaker, text=f"{domain} {n}") for n in range(3)])
    ledger = Ledger(embedded_bundle())
    for seed, domain in enumerate(DOMAINS):
        add_edit(ledger, domain, seed)
    change_terms(lambda listed: listed.with_terms([Term("Kubernetes")]))
    save_host(Host(HOST, "a2V5"))
    if with_job:
        request = {"dataset": {"bytes": 7}}
        job = Job(
            "ab" * 16, HOST, None, AdaptationSettings("kitchen"), request, Origin("moonshine", "0" * 64, "kitchen")
        )
        job.folder.mkdir(parents=True, mode=0o700)
        job.save()
        (job.folder / "dataset.tar").write_bytes(b"archive")


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A filled data folder that no test changes."""
    folder = tmp_path_factory.mktemp("filled") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_EDGE_HOME", str(folder))
        fill()
    return folder


@pytest.fixture
def filled_home(filled, tmp_path, monkeypatch):
    """A copy of it for one test."""
    shutil.copytree(filled, tmp_path / "home")
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def everything(folder: Path) -> dict[str, object]:
    """What a user has in the data folder that ASR_EDGE_HOME names, by content and not by file."""
    with Store(folder) as store:
        utterances = {(u.domain, u.speaker, u.text, sha256(u.audio)) for u in store.utterances()}
    ledger = Ledger(embedded_bundle())
    return {
        "utterances": utterances,
        "edits": [(edit.domain, sha256(ledger.vector_path(edit.vectors[0]))) for edit in ledger.edits],
        "active": [applied.edit for applied in ledger.current.applied],
        "terms": [term.text for term in stored_terms().terms],
        "hosts": [*hosts()],
        "jobs": [job.key for job in jobs()],
    }
