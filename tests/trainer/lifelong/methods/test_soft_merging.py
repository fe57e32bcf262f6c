"""Soft merging: the encoder output of an utterance determines the experts' shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.lifelong.method import Mixture
from trainer.lifelong.methods.soft_merging import route
from trainer.lifelong.scoring import in_tenths

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
