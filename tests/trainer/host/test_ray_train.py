"""Fine-tuning on several workers of a real Ray cluster gives nearly the vector of a single worker."""

import json

import numpy as np
import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.data.utterance import Utterance
from device_app.remote.jobs import ARCHIVE, pack_job
from editing.task_vector import Origin, TaskVector
from trainer.host import ray_train as parallel
from trainer.host.worker import run_job
from trainer.training import model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def in_float32(patch=setattr):
    """Disables bfloat16: its rounding depends on the batch shape, and AdamW amplifies small differences."""
    patch(model, "is_bf16_fast", lambda _device: False)


@pytest.fixture
def ray(monkeypatch):
    found = pytest.importorskip("ray")
    in_float32(monkeypatch.setattr)
    found.init(
        num_cpus=6,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": in_float32},
    )
    yield found
    found.shutdown()


@pytest.fixture
def job_folder(bundle, codes, host_home, tmp_path):
    """A job for the embedded model. It has no dropout and no batch norms, so gradients of shares add up exactly."""
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()]
    labelled = [Utterance(audio=codes.parent / line["audio"], text=line["text"]) for line in lines[:10]]
    training_set = TrainingSet(bundle, labelled, [], Origin(bundle.family, bundle.weights_hash, "codes"))

    def make(name):
        job = pack_job(training_set, AdaptationSettings(name), "https://box", None, {"epochs": 1, "seed": 1})
        folder = tmp_path / name
        folder.mkdir()
        (folder / ARCHIVE).write_bytes((job.folder / ARCHIVE).read_bytes())
        (folder / "request.json").write_text(json.dumps(job.request))
        return folder

    return make


def test_two_workers_give_the_vector_of_one(ray, job_folder, monkeypatch):
    alone, together = job_folder("alone"), job_folder("together")
    run_job(alone)
    monkeypatch.setattr(parallel, "MIN_SPEECH_S", 0.0)
    assert parallel.workers_for(1.0) == 3
    monkeypatch.setattr(parallel, "MAX_WORKERS", 2)
    run_job(together)
    results = [json.loads((folder / "result.json").read_text()) for folder in (alone, together)]
    assert all("vector" in result for result in results), results
    one, two = (TaskVector.load(folder / "vector.safetensors") for folder in (alone, together))
    assert one.cosine(two) > 0.99
    np.testing.assert_allclose(two.norm, one.norm, rtol=0.02)
    np.testing.assert_allclose(results[1]["losses"], results[0]["losses"], rtol=0.02)
