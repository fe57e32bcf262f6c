import numpy as np
import pytest

from device_app.adaptation import divergence as module
from device_app.adaptation.divergence import TopOutputs
from device_app.recognition.decoder_search import log_softmax


def outputs(seed, vocabulary=20):
    return log_softmax(np.random.default_rng(seed).standard_normal((7, vocabulary), np.float32) * 3)


def exact(before, now):
    return float((np.exp(before) * (before - now)).sum())


def test_outputs_do_not_diverge_from_themselves():
    assert TopOutputs.of(outputs(0, 100)).divergence(outputs(0, 100)) == pytest.approx(0, abs=1e-4)


def test_a_small_vocabulary_is_kept_whole_and_gives_the_exact_divergence():
    assert TopOutputs.of(outputs(0)).divergence(outputs(1)) == pytest.approx(exact(outputs(0), outputs(1)), rel=1e-3)


def test_the_likeliest_outputs_give_a_lower_bound_near_the_exact_divergence(monkeypatch):
    monkeypatch.setattr(module, "TOP_K", 10)
    before, now = outputs(0, 100), outputs(1, 100)
    top = TopOutputs.of(before)
    assert top.outputs.shape == (7, 10)
    assert set(top.outputs[0]) == set(np.argsort(before[0])[-10:])
    assert 0.7 * exact(before, now) < top.divergence(now) < exact(before, now)
