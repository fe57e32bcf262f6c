"""Labels are checked against what is hypotheses before they are learnt."""

from device_app.adaptation.label_check import label_chance


def test_labels_that_are_misheard_still_fit_better_than_others():
    said = ["open the door", "close the window", "turn on the light", "what time is it", "play some music", "stop"]
    hypotheses = ["oven a dore", "clothes winter", "tern own light", "watt thyme", "prey sum mew", "top"]
    assert label_chance(said, hypotheses) < 0.05
    assert label_chance(said, hypotheses[3:] + hypotheses[:3]) > 0.05
    assert label_chance(["the same"] * 5, ["something"] * 5) == 0.0
