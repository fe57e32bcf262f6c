"""Checkpoints whose weights are not complete are refused, in one line, whatever the architecture."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from editing.errors import BadInputError
from tests.trainer.families import test_moonshine_streaming, test_whisper
from trainer.convert import convert

MAKERS = {
    "whisper": lambda folder: test_whisper.checkpoint(folder, test_whisper.SMALL),
    "moonshine-streaming": lambda folder: test_moonshine_streaming.checkpoint(
        folder, test_moonshine_streaming.SMALL, 0.3
    ),
}


def refused(folder, tmp_path, capfd):
    with pytest.raises(BadInputError) as error:
        convert(str(folder), tmp_path / "out", language="en")
    assert capfd.readouterr().err == ""
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.parametrize("family", MAKERS)
def test_damaged_weights_are_refused_in_one_line(tmp_path, capfd, family):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    MAKERS[family](folder)
    path = folder / "model.safetensors"
    whole = load_file(path)
    name = next(one for one in sorted(whole) if "fc1.weight" in one)
    capfd.readouterr()

    save_file({one: weight for one, weight in whole.items() if one != name}, path, {"format": "pt"})
    assert f"lacks weights of a {'Whisper' if family == 'whisper' else 'Moonshine Streaming'} model ({name})" in (
        refused(folder, tmp_path, capfd)
    )
    save_file(whole | {name: whole[name] * np.float32("nan")}, path, {"format": "pt"})
    assert f"{name} contains values that are not finite; download" in refused(folder, tmp_path, capfd)
    save_file(whole | {name: np.ascontiguousarray(whole[name][:-1])}, path, {"format": "pt"})
    assert "other shapes than config.json says" in refused(folder, tmp_path, capfd)

    save_file(whole, path, {"format": "pt"})
    (folder / "tokenizer.json").write_text(json.dumps({"a": 1}))
    assert "tokenizer.json cannot be read" in refused(folder, tmp_path, capfd)
    path.unlink()
    assert "with safetensors weights (" in refused(folder, tmp_path, capfd)
