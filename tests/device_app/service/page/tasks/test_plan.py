"""How long learning still takes, from what was expected and how it goes."""

import time

import pytest

from device_app.service.page.tasks.plan import Plan


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is put forward."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


@pytest.fixture
def plan(clock):
    return Plan((60.0, 30.0, 300.0, 60.0), is_measured=False, _began=time.monotonic())


def test_before_anything_was_done_it_is_what_was_expected(plan):
    assert plan.left_s("transcribing with the active version", 0, 72, None) == 450
    assert plan.left_s("preparing", 0, 0, None) is None


def test_slow_first_steps_make_the_rest_slow_too(plan, clock):
    clock(150)
    assert plan.left_s("transcribing with the active version", 75, 150, None) == pytest.approx(
        5 * (30 + 30 + 300 + 60)
    )  # 150 s for half of 60 s
    clock(150)
    assert plan.left_s("transcribing the training set", 0, 10, None) == pytest.approx(5 * 390)


def test_a_test_that_was_stored_does_not_make_the_rest_fast(plan, clock):
    clock(1)
    assert plan.left_s("transcribing the training set", 0, 10, None) == 390


def test_the_rate_of_the_fine_tuning_decides_about_what_follows(plan):
    assert plan.left_s("Fine-tuning on 7 utterances ...", 0, 0, None) == 360
    assert plan.left_s("fine-tuning", 10, 20, 600.0) == pytest.approx(600 + 4 * 60)  # 4 times as slow as expected
    assert plan.left_s("fine-tuning", 10, 20, 75.0) == pytest.approx(75 + 60)
