"""Soft merging: the encoder output of an utterance determines the experts' shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import write_audio
from trainer.lifelong.method import Mixture, Step
from trainer.lifelong.methods.soft_merging import route, smear
from trainer.lifelong.scoring import in_tenths
from trainer.training.data import TrainingUtterance

MEANS = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [-1.0, -1.0, 5.0]])


@pytest.mark.parametrize("domain", [0, 1, 2])
def test_an_utterance_near_a_domain_is_routed_to_its_expert(domain):
    shares = route(MEANS[domain] + [0.1, 0.1, 0.0], MEANS, temperature=0.1)
    assert np.argmax(shares) == domain
    assert shares[domain] > 0.9
    assert shares.sum() == pytest.approx(1)


def test_an_utterance_between_domains_mixes_both_and_a_high_temperature_mixes_all():
    between = route((MEANS[0] + MEANS[1]) / 2, MEANS, temperature=0.1)
    assert between[0] == pytest.approx(between[1])
    assert between[2] < 0.01
    np.testing.assert_allclose(route(MEANS[0], MEANS, temperature=1e6), 1 / 3, atol=1e-5)


def test_an_utterance_at_the_centre_gets_equal_shares():
    np.testing.assert_allclose(route(MEANS.mean(axis=0), MEANS, temperature=0.1), 1 / 3)


@given(arrays(float, st.integers(1, 9), elements=st.floats(0, 1)).filter(lambda values: values.sum() > 0.01))
def test_rounding_to_tenths_keeps_the_sum_of_one(values):
    shares = values / values.sum()
    rounded = np.array(in_tenths(shares))
    assert rounded.sum() == pytest.approx(1)
    assert np.abs(rounded - shares).max() <= 0.1 + 1e-9


def test_a_mixture_adds_the_experts_weighted_by_their_shares():
    theta = {"w": np.ones(3, np.float32)}
    experts = [{"w": np.full(3, 10, np.float32)}, {"w": np.full(3, -2, np.float32)}]
    mixture = Mixture(theta, experts, lambda _audio: np.array([0.5, 0.5]))
    np.testing.assert_allclose(mixture.weights([0.5, 0.5])["w"], 5)
    np.testing.assert_allclose(mixture.weights([0.0, 1.0])["w"], -1)
    np.testing.assert_array_equal(theta["w"], 1)


@pytest.mark.parametrize("has_base_domain", [True, False])
def test_the_base_is_an_expert_for_its_own_domain_or_for_general_speech(has_base_domain, tiny_bundle, prompt, tmp_path):
    own, general, domain = (
        [TrainingUtterance(audio=write_audio(tmp_path / f"{n}.wav", prompt[n : n + 16000]), text="a", tokens=[1])]
        for n in (0, 16000, 32000)
    )
    base = tiny_bundle.weights()
    step = Step(
        number=1,
        domain="domain",
        bundle=tiny_bundle,
        base=base,
        theta=base,
        training=domain,
        earlier=[own] if has_base_domain else [],
        memory=tmp_path,
        finetune=lambda weights, _training: {name: tensor + 1 for name, tensor in weights.items()},
        learning_rate=1e-3,
        general=general,
    )
    mixture = smear(step)
    names = set(base)
    assert [{float(vector[name].max().round(3)) for name in names} for vector in mixture.vectors] == [{0.0}, {1.0}]
    of_base = own if has_base_domain else general
    assert mixture.route(of_base[0].read())[0] > 0.9
    assert mixture.route(domain[0].read())[1] > 0.9
