import pytest

from trainer.training.settings import schedule


def test_the_learning_rate_rises_to_its_peak_and_decays_to_nearly_zero():
    rates = [schedule(step, 20, 0.1) for step in range(20)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 18)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.1), (1, 1.0), (3, 0.0), (3, 1.0)])
def test_the_learning_rate_is_positive_even_for_few_updates(steps, warm_up):
    assert all(0 < schedule(step, steps, warm_up) <= 1 for step in range(steps))
