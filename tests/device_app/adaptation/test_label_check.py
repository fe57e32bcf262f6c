"""Labels are checked against the hypotheses before the fine-tuning."""

from device_app.adaptation.label_check import permutation_p_value


def test_labels_fit_misrecognised_speech_better_than_shuffled_labels():
    labels = ["open the door", "close the window", "turn on the light", "what time is it", "play some music", "stop"]
    hypotheses = ["oven a dore", "clothes winter", "tern own light", "watt thyme", "prey sum mew", "top"]
    assert permutation_p_value(labels, hypotheses, "en") < 0.05
    assert permutation_p_value(labels, hypotheses[3:] + hypotheses[:3], "en") > 0.05
    assert permutation_p_value(["the same"] * 5, ["something"] * 5, "en") == 0.0
