import pytest

from editing.errors import BadInputError
from trainer.training.settings import FineTuningSettings, schedule


def test_the_learning_rate_rises_to_its_peak_and_decays_to_nearly_zero():
    rates = [schedule(step, 20, 0.1) for step in range(20)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 18)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.1), (1, 1.0), (3, 0.0), (3, 1.0)])
def test_the_learning_rate_is_positive_even_for_few_updates(steps, warm_up):
    assert all(0 < schedule(step, steps, warm_up) <= 1 for step in range(steps))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected a whole number from 1 to 10000"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected a number from 0 to 1"),
        ({"batch_s": 0}, "batch_s is 0; expected a number above 0 and at most 3600"),
        ({"warm_up": 5}, "warm_up is 5; expected a number from 0 to 1"),
        ({"clip": None}, "clip is None; expected a number above 0 and at most 1000000"),
        ({"patience": 0.5}, "patience is 0.5; expected a whole number from 1 to 10000"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"augment": "yes"}, "augment is 'yes'; expected true or false"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_any_fine_tuning(setting, message):
    with pytest.raises(BadInputError) as error:
        FineTuningSettings(**setting)
    assert str(error.value) == message
