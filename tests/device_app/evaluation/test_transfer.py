import numpy as np
import pytest

from device_app.evaluation.transfer import average_wer, backward_transfer, forward_transfer

NAN = float("nan")
WER = np.array([[0.10, 0.40, NAN], [0.12, 0.20, 0.50], [0.15, 0.18, 0.25]])


def test_metrics_have_the_values_computed_by_hand():
    assert average_wer(WER) == pytest.approx((0.15 + 0.18 + 0.25) / 3)
    assert backward_transfer(WER) == pytest.approx(((0.10 - 0.15) + (0.20 - 0.18)) / 2)
    assert forward_transfer(WER, np.array([0.5, 0.45, 0.48])) == pytest.approx(((0.45 - 0.40) + (0.48 - 0.50)) / 2)


def test_nan_is_refused_in_the_entries_that_are_read():
    with pytest.raises(ValueError, match="NaN"):
        average_wer(np.array([[0.1, 0.2], [NAN, 0.1]]))
    with pytest.raises(ValueError, match="at least 2"):
        backward_transfer(np.array([[0.1]]))
    with pytest.raises(ValueError, match="square"):
        average_wer(np.zeros((2, 3)))
