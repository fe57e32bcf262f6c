"""The active version's results on the bundled guard set are computed once."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from device_app.adaptation.divergence import TopOutputs
from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set.cache import FILE, TENSORS, read_cached, write_cached
from device_app.data.utterance import Utterance

VERSION = SimpleNamespace(bake_inputs=["base", "edit"])  # what the cache reads of a bundle
UTTERANCES = [Utterance(samples=np.full(1600, level, np.float32), text=f"level {level}") for level in (0.1, 0.2)]
RESULTS = Hypotheses(
    ["level 0.1", "level 0.2"],
    ["level", "level 2"],
    [TopOutputs(np.arange(4, dtype=np.int32).reshape(2, 2), np.zeros((2, 2), np.float32)) for _ in range(2)],
    losses=(0.5, 1.25),
)


@pytest.fixture
def folder(tmp_path):
    write_cached(tmp_path, VERSION, UTTERANCES, RESULTS)
    return tmp_path


def test_stored_results_are_read(folder):
    found = read_cached(folder, VERSION, UTTERANCES)
    assert found == RESULTS
    for one, expected in zip(found.outputs, RESULTS.outputs, strict=True):
        np.testing.assert_array_equal(one.outputs, expected.outputs)
        np.testing.assert_array_equal(one.log_probabilities, expected.log_probabilities)


@pytest.mark.parametrize(
    "utterances", [UTTERANCES[:1], UTTERANCES[::-1], [UTTERANCES[0], replace(UTTERANCES[1], text="other")]]
)
def test_results_for_other_utterances_are_not_used(folder, utterances):
    assert read_cached(folder, VERSION, utterances) is None


def test_results_of_another_version_are_not_used(folder):
    assert read_cached(folder, SimpleNamespace(bake_inputs=["other"]), UTTERANCES) is None


@pytest.mark.parametrize("content", [None, b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"\xff" * 100])
def test_a_missing_or_damaged_file_is_ignored(folder, content):
    (folder / FILE).unlink()
    if content is not None:
        (folder / FILE).write_bytes(content)
    assert read_cached(folder, VERSION, UTTERANCES) is None


@pytest.mark.parametrize("byte", [-1, -17, -40, -60], ids=str)
def test_a_file_with_a_changed_bit_is_ignored(folder, byte):
    content = bytearray((folder / FILE).read_bytes())
    content[byte] ^= 0x40
    (folder / FILE).write_bytes(content)
    assert read_cached(folder, VERSION, UTTERANCES) is None


@pytest.mark.parametrize("hypotheses", ["null", "[1, 2]", '["level"]'])
def test_a_file_with_other_hypotheses_is_ignored(folder, hypotheses):
    with safe_open(folder / FILE, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in TENSORS}
    (folder / FILE).write_bytes(save(tensors, {**metadata, "hypotheses": hypotheses}))
    assert read_cached(folder, VERSION, UTTERANCES) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    write_cached(tmp_path / "file", VERSION, UTTERANCES, RESULTS)
