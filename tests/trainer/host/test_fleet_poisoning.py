"""Poisoned vectors in a group: the merge of nine devices stays close to that of the honest ones, or nothing is offered.

The honest vectors have a shared direction and noise of their own, as real ones: three of digits-jackson, -nicolas and
-theo have pairwise cosines of 0.3 to 0.5, and norms and shares of tensors within 1.5 times the median.
"""

from dataclasses import replace

import numpy as np
import pytest

from device_app.adaptation.gate import Hypotheses
from device_app.data.names import GUARD_SET
from editing.errors import BadInputError
from editing.methods import METHODS
from editing.task_vector import Origin, TaskVector
from trainer.host.fleet import robust
from trainer.host.fleet.merge import Candidates, leave_out_unusual
from trainer.host.fleet.report import AssessedContribution
from trainer.host.fleet.scoring import GROUP_SPEECH, harm, harmful_alone

SHAPES = {"embed": (100, 20), "layer.0": (40, 40), "layer.1": (40, 40), "layer.2": (40, 40), "norm": (40,)}
BASE_NORM = 100.0
ORIGIN = Origin("moonshine", "0" * 64, "")


def normal(seed):
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items() if name != "embed"}


def vector(tensors):
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    return TaskVector({**zeros, **{name: np.float32(0.01) * tensor for name, tensor in tensors.items()}}, ORIGIN)


def mix(*parts):
    return {name: sum(np.float32(weight) * part[name] for weight, part in parts) for name in parts[0][1]}


def honest(seed, length=1.0):
    """Its cosine with others of its kind is 0.4."""
    return vector(mix((length * 0.63, normal(999)), (length * 0.77, normal(seed))))


def nine(seed):
    random = np.random.default_rng(seed)
    return {f"d{one}": honest(100 * seed + one, random.uniform(0.8, 1.25)) for one in range(9)}


def screened(vectors, min_devices=5):
    """The vectors that are left, clipped; the reasons; and why nothing is offered."""
    judged = [AssessedContribution(name, "") for name in vectors]
    found = Candidates(judged)
    for one in judged:
        one.left_out = robust.too_small(vectors[one.device], BASE_NORM)
        if not one.left_out:
            found.vectors[one.device] = vectors[one.device]
    refused = leave_out_unusual(found, "crew", min_devices)
    reasons = {one.device: one.left_out or f"copy of {one.copy_of}" for one in judged if one.left_out or one.copy_of}
    return robust.clipped(found.vectors) if found.vectors else {}, reasons, refused


def merged(vectors):
    return vector(METHODS["ties"]([one.tensors for one in vectors.values()], lam=1.0, density=0.5))


def with_only(tensors, chosen):
    return vector({name: tensor if name in chosen else 0 * tensor for name, tensor in tensors.items()})


def spiked(clean, name, factor):
    return TaskVector({**clean.tensors, name: np.float32(factor) * clean.tensors[name]}, ORIGIN)


def shuffled(clean, seed):
    random = np.random.default_rng(seed)
    return TaskVector(
        {name: random.permuted(one.ravel()).reshape(one.shape) for name, one in clean.tensors.items()}, ORIGIN
    )


def average(seed):
    vectors = list(nine(seed).values())[2:]
    return TaskVector(
        {name: np.mean([one.tensors[name] for one in vectors], axis=0, dtype=np.float32) for name in SHAPES}, ORIGIN
    )


def deviation(seed):
    vectors = list(nine(seed).values())[2:]
    return TaskVector(
        {name: np.std([one.tensors[name] for one in vectors], axis=0, dtype=np.float32) for name in SHAPES}, ORIGIN
    )


EMBEDDINGS = np.random.default_rng(5).standard_normal(SHAPES["embed"]).astype(np.float32)
ATTACKS = {
    "the sign of an honest vector flipped": lambda seed, at: nine(seed)["d5"].scaled(-1.0),
    "their own signs flipped": lambda seed, at: honest(9000 + at).scaled(-1.0),
    "the sign flipped, and long": lambda seed, at: honest(9000 + at).scaled(-1.4),
    "a random direction": lambda seed, at: vector(normal(5000 + at)),
    "the same random direction": lambda seed, at: vector(mix((0.85, normal(5000)), (0.5, normal(5001 + at)))),
    "token embeddings only": lambda seed, at: vector({"embed": EMBEDDINGS * np.float32(2 + at / 10)}),
    "one tensor 300 times": lambda seed, at: spiked(honest(9000 + at), "norm", 300),
    "one tensor 300 times at an ordinary norm": lambda seed, at: spiked(honest(9000 + at), "norm", 300).scaled(0.05),
    "one layer only": lambda seed, at: with_only(normal(5000 + at), {"layer.1"}).scaled(1.7),
    "tiny": lambda seed, at: honest(9000 + at).scaled(1e-4),
    "short": lambda seed, at: honest(9000 + at).scaled(0.05),
    "huge": lambda seed, at: honest(9000 + at).scaled(1000.0),
    "just below the limit of the norm, flipped": lambda seed, at: honest(9000 + at).scaled(-4.9),
    "shuffled entries": lambda seed, at: shuffled(honest(9000 + at), at),
    "zero": lambda seed, at: honest(1).scaled(0.0),
    "against the mean of the honest ones": lambda seed, at: average(seed).scaled(-1.0 - at / 10),
    "a little less than the mean of the honest ones": lambda seed, at: average(seed) + deviation(seed).scaled(-0.5),
    "copies of one vector": lambda seed, at: honest(9000),
    "long": lambda seed, at: honest(9000 + at).scaled(3.0),
}


@pytest.mark.parametrize("attackers", [1, 2])
@pytest.mark.parametrize("attack", ATTACKS)
def test_one_or_two_of_nine_do_not_change_the_direction_of_the_merge(attack, attackers):
    seed = 1
    vectors = nine(seed)
    poison = {f"d{at}": ATTACKS[attack](seed, at) for at in range(attackers)}
    left, reasons, refused = screened({**vectors, **poison})
    others = {name: one for name, one in vectors.items() if name not in poison}
    assert refused == ""
    assert others.keys() <= left.keys(), reasons
    expected, found = merged(others), merged(left)
    if attack in LEFT_OUT:
        assert found.cosine(expected) > 0.999
    assert found.cosine(expected) > 0.8
    assert 0.8 < found.norm / expected.norm < 1.35


LEFT_OUT = set(ATTACKS) - {"a little less than the mean of the honest ones", "copies of one vector", "long"}


@pytest.mark.parametrize("attack", sorted(LEFT_OUT))
def test_two_of_nine_are_left_out(attack):
    left, reasons, _ = screened({**nine(3), **{f"d{at}": ATTACKS[attack](3, at) for at in range(2)}})
    assert reasons.keys() == {"d0", "d1"}
    assert sorted(left) == [f"d{one}" for one in range(2, 9)]


@pytest.mark.parametrize("seed", range(5))
def test_without_attackers_the_merge_has_all_vectors_as_they_are(seed):
    vectors = nine(seed)
    left, reasons, refused = screened(vectors)
    assert (reasons, refused) == ({}, "")
    for name, one in vectors.items():
        assert left[name] is one


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
def test_two_of_five_that_flip_the_sign_of_an_honest_vector_are_never_merged(noise):
    """They had the honest vectors left out, and general speech even improved."""
    vectors = {f"d{one}": honest(one) for one in range(5)}
    for at in range(2):
        own = vector(normal(7000 + at)).scaled(noise)
        vectors[f"d{at}"] = vectors["d4"].scaled(-1.0) + own
    if noise <= 0.2:  # their vectors are nearly the same and count once, so that four are left
        with pytest.raises(BadInputError, match="has 4 vectors to merge, but needs at least 5"):
            screened(vectors)
        return
    _, _, refused = screened(vectors)
    assert "of 5 vectors disagree with the others" in refused
    assert "nothing is offered" in refused


def test_five_tiny_vectors_of_nine_do_not_have_the_honest_ones_left_out():
    vectors = {**nine(1), **{f"d{at}": honest(at).scaled(1e-4) for at in range(5)}}
    with pytest.raises(BadInputError, match="has 4 vectors to merge, but needs at least 5"):
        screened(vectors)
    left, _, _ = screened(vectors, min_devices=4)
    assert sorted(left) == ["d5", "d6", "d7", "d8"]
    vectors |= {f"d{at}": honest(at).scaled(0.05) for at in range(5)}
    assert "disagree" in screened(vectors)[2]  # above the floor: five short ones and four long ones


def test_two_groups_of_equal_size_are_not_merged():
    vectors = {
        **{f"a{one}": honest(one) for one in range(3)},
        **{f"b{one}": honest(50 + one).scaled(-1.0) for one in range(3)},
    }
    assert "disagree" in screened(vectors)[2]


# Flipped labels: only speech with the group's words shows them

TEXTS = ["one five", "five two", "three five", "five four", "five six", "five one"] * 3


def said(change=lambda text: text):
    return Hypotheses(TEXTS, [change(text) for text in TEXTS])


def flip(text):
    return text.replace("five", "nine")


def test_a_vector_that_flips_a_word_is_left_out_even_if_it_helps_the_other_words():
    before = said(lambda text: "what")  # the base recognises nothing, so that the flip lowers the WER
    alone = {**{f"d{one}": said() for one in range(7)}, "d7": said(flip), "d8": said(flip)}
    found = harmful_alone(before, alone, tolerance=0.01)
    assert found.keys() == {"d7", "d8"}
    assert "five" in found["d7"]


def test_a_vector_that_raises_the_wer_of_the_groups_speech_is_left_out():
    alone = {"a": said(), "b": said(), "c": said(lambda text: text.replace("one", "won").replace("two", "too"))}
    found = harmful_alone(said(), alone, tolerance=0.01)
    assert found.keys() == {"c"}
    assert "points higher" in found["c"]


def test_a_merge_whose_outputs_diverge_too_far_is_not_said_to_have_more_word_errors():
    before = said()
    words = int(before.counts[:, 1].sum())
    after = replace(before, divergences=[0.5 * words / len(before.references)] * len(before.references))
    (reason,) = harm({GUARD_SET: before}, {GUARD_SET: after}, tolerance=0.01)
    assert reason == (
        "general speech is recognised too differently: of the model's outputs, they diverge by 0.50 nats per word "
        "(at most 0.06 is allowed)"
    )


def test_a_merge_that_loses_a_word_of_the_group_is_not_offered():
    before = said(lambda text: text if "one" in text else "five")
    reasons = harm({GROUP_SPEECH: before}, {GROUP_SPEECH: said(flip)}, tolerance=0.01)
    assert any("five" in one for one in reasons)
    assert harm({GROUP_SPEECH: before}, {GROUP_SPEECH: said()}, tolerance=0.01) == []
