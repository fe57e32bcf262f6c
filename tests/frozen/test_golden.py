"""Numbers of 767e81d: the same fine-tuning, the same int8 files, the same transcripts."""

import json
import warnings

import pytest

from tests.frozen import access, measure

GOLDEN = json.loads(measure.GOLDEN.read_text("utf-8"))
REFERENCE = measure.GOLDEN.with_name("golden.safetensors")
# The cosine of the frozen vector with one that was made with two threads is 0.9997, in bfloat16 0.993, with another
# warm-up 0.93, and with another order 0.5.
LIKE_ANOTHER_MACHINE = 0.98


class UnknownMachineWarning(UserWarning):
    """Exact numbers of this machine are not in golden.json."""


def tell(what):
    """Shown in pytest's summary of warnings: a comparison that was only a loose one must not pass in silence."""
    hint = "compared loosely; python -m tests.frozen.measure --add"
    warnings.warn(UnknownMachineWarning(f"{what}: {hint}"), stacklevel=2)


@pytest.mark.filterwarnings("default::tests.frozen.test_golden.UnknownMachineWarning")
def test_the_same_fine_tuning_gives_the_same_vector_and_the_same_int8_file(data, tmp_path):
    model, recordings = data / "models" / "tiny", data / "recordings"
    one = measure.adapt(model, recordings, tmp_path / "one")
    known = GOLDEN["adaptation"].get(measure.machine())
    if known is not None:
        assert one == known  # measured in another process
        return
    assert measure.adapt(model, recordings, tmp_path / "again") == one
    assert measure.adaptation(model, recordings, tmp_path / "in a process of its own") == one
    tell(f"there are no exact numbers of {measure.machine()}")
    assert access.cosine(tmp_path / "one" / "vector.safetensors", REFERENCE) > LIKE_ANOTHER_MACHINE


@pytest.mark.filterwarnings("default::tests.frozen.test_golden.UnknownMachineWarning")
def test_the_embedded_model_bakes_to_the_same_int8_files(tmp_path):
    """Where their bytes change, the bake version must be raised: by it, devices know that theirs are old."""
    found = measure.embedded_int8(tmp_path)
    version = str(access.bake_version())
    assert version in GOLDEN["int8"], "a new bake version needs its numbers: python -m tests.frozen.measure --add"
    known = GOLDEN["int8"][version]
    assert found["content"] == known["content"]
    if measure.writer() in known["bytes"]:
        assert found["bytes"] == known["bytes"][measure.writer()]
    else:
        tell(f"there are no exact bytes of {measure.writer()}")


def test_bake_versions_are_told_apart():
    contents = [json.dumps(one["content"]) for one in GOLDEN["int8"].values()]
    assert len(set(contents)) == len(contents)


def test_the_bundled_recordings_are_transcribed_as_they_were(home):
    found = measure.transcripts(home)
    assert found.keys() == GOLDEN["transcripts"].keys()
    for precision, recordings in GOLDEN["transcripts"].items():
        assert found[precision].keys() == recordings.keys()
        for name, golden in recordings.items():
            one = found[precision][name]
            assert one["text"] == golden["text"], (precision, name)
            assert [word for word, *_ in one["words"]] == [word for word, *_ in golden["words"]]
            # Another processor rounds differently, which moved 7 of 176 words, one of them by 0.3 s.
            moved_s = [
                max(abs(now - before) for now, before in zip(times, golden_times, strict=True))
                for (_, *times), (_, *golden_times) in zip(one["words"], golden["words"], strict=True)
            ]
            assert max(moved_s) < 0.5, (precision, name)
            assert sum(one > 0.05 for one in moved_s) <= 3, (precision, name)
