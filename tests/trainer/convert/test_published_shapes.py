"""Published shapes with random weights, because the weights themselves cannot be downloaded for tests.

From a server that speaks the hub's protocol to an edit and back. Whether a model recognises speech is not tested here.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from device_app.models.bundles import EMBEDDED
from export.bundle import Bundle
from tests.hub import serving
from tests.trainer.parity import assert_outputs_are_those_of_transformers
from trainer import families
from trainer.convert.moonshine import BASE
from trainer.families import moonshine

SPREAD = 0.06  # of random weights: with the default of 0.02, all tokens have nearly the same probability


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = moonshine.build({**BASE, "initializer_range": SPREAD})
    with torch.no_grad():  # random hypotheses would hardly ever end
        model.model.decoder.embed_tokens.weight[BASE["eos_token_id"]] *= 4
    return model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moonshine-base")
    save_file(families.arrays(model), folder / "model.safetensors")
    shutil.copyfile(EMBEDDED / "tokenizer.json", folder / "tokenizer.json")
    rope = {"rope_theta": 10000.0, "partial_rotary_factor": 0.62}
    config = {key: value for key, value in BASE.items() if key != "rope_parameters"}
    (folder / "config.json").write_text(json.dumps({**config, **rope, "model_type": "moonshine"}))
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    return folder


@pytest.mark.slow
def test_moonshine_base_is_pulled_run_adapted_and_exported(
    model, checkpoint, run_process, run, codes, tmp_path, prompt
):
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "ASR_EDGE_HOME": str(tmp_path / "own")}
    with serving(checkpoint, "UsefulSensors/moonshine-base") as (address, _):
        done = run_process("model", "pull", "moonshine-base", "--yes", HF_ENDPOINT=address, **environment)
    assert done.returncode == 0, done.stderr
    bundle = Bundle.open(tmp_path / "own" / "models" / "moonshine-base")

    assert_outputs_are_those_of_transformers(moonshine, model, bundle, prompt, tmp_path / "fp32")

    def asr(*arguments):
        done = run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    asr("model", "use", "moonshine-base")
    asr("import", codes, "--domain", "codes")
    adapted = json.loads(asr("adapt", "--domain", "codes", "--epochs", 1, "--force", "--json"))
    assert adapted["promoted"]
    assert np.isfinite(adapted["losses"]).all()
    assert "adapt codes" in asr("log")
    asr("revert", 1)
    asr("export", "--out", "exported")
    assert (tmp_path / "exported" / "int8" / "decoder.onnx").stat().st_size < 80e6
    assert asr("log", "--model", "embedded") != asr("log")
