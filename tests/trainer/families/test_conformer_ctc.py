"""conformer-ctc: graph, parameters and loss equal those of transformers' ParakeetForCTC."""

import json

import numpy as np
import pytest
import torch

from device_app.models.export import export_nemo
from device_app.recognition.families import find
from editing.task_vector import apply
from export.bake import bake
from export.verify import largest_difference
from trainer import families
from trainer.ctc_loss import ctc_loss
from trainer.families import conformer_ctc
from trainer.training.from_scratch import with_weights


@pytest.fixture(scope="module")
def model(tiny_bundle):
    model = conformer_ctc.build(tiny_bundle.config)
    families.load_weights(model, tiny_bundle.weights())
    return model


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("batch", "samples"), [(1, 1600), (1, 30001), (3, 16000)])
def test_the_graph_has_the_outputs_of_torch(model, tiny_bundle, tmp_path, precision, batch, samples):
    import onnxruntime

    bake(tiny_bundle, tiny_bundle.weights(), precision, tmp_path)
    audio = 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))
    with torch.no_grad():
        expected = torch.log_softmax(model(model.front_end(audio)).logits, dim=-1).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "ctc.onnx")
    (found,) = session.run(None, {"audio": audio.numpy()})
    assert largest_difference(expected, found) < (1e-4 if precision == "fp32" else 0.1)


def test_the_bundle_stores_parameters_and_batch_norm_statistics(model, tiny_bundle):
    names = tiny_bundle.weights().keys()
    assert names == families.state(model).keys()
    assert "encoder.layers.1.conv.norm.running_var" in names
    assert not any("num_batches" in name or "front_end" in name for name in names)


def test_a_merge_changes_batch_norm_statistics_in_the_graph(tiny_bundle, tmp_path):
    """Merges half of a vector that changes only a batch norm's running mean."""
    base = tiny_bundle.weights()
    name = "encoder.layers.0.conv.norm.running_mean"
    vector = {n: np.zeros_like(t) for n, t in base.items()}
    vector[name] = np.full_like(base[name], 0.5)
    merged = apply(base, {n: np.float32(0.5) * t for n, t in vector.items()})
    model = conformer_ctc.build(tiny_bundle.config)
    families.load_weights(model, merged)
    audio = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * np.float32(0.1)
    import onnxruntime

    bake(tiny_bundle, merged, "fp32", tmp_path)
    (found,) = onnxruntime.InferenceSession(tmp_path / "ctc.onnx").run(None, {"audio": audio[None]})
    with torch.no_grad():
        expected = torch.log_softmax(model(model.front_end(torch.from_numpy(audio)[None])).logits, -1).numpy()
    assert largest_difference(expected, found) < 1e-4
    assert np.allclose(merged[name], base[name] + 0.25)


def test_the_loss_of_a_padded_batch_is_the_sum_over_single_utterances(model):
    audio = 0.1 * torch.randn(2, 24000, generator=torch.Generator().manual_seed(0))
    targets = [[1, 2, 3], [4, 5]]
    lengths = torch.tensor([24000, 15000])
    with torch.no_grad():
        together, tokens = conformer_ctc.loss(model, audio, lengths, targets)
        alone = [
            float(conformer_ctc.loss(model, audio[i : i + 1, :n], lengths[i : i + 1], [targets[i]])[0])
            for i, n in enumerate(lengths.tolist())
        ]
        rows = conformer_ctc.log_probabilities(model, audio, lengths, targets)
    assert tokens == 5
    assert float(together) == pytest.approx(sum(alone), rel=1e-4)
    assert rows.shape[0] == sum(-(-(-(-n // 160) // 2) // 2) for n in lengths.tolist())


def test_the_loss_equals_that_of_transformers(model):
    """Oracle: the loss of ParakeetForCTC, the mean over utterances of the mean loss per token."""
    audio, targets = 0.1 * torch.randn(2, 16000), torch.tensor([[1, 2, 3], [4, 5, 6]])
    lengths = torch.tensor([16000, 16000])
    features, mask = conformer_ctc.masked_features(model, audio, lengths)
    with torch.no_grad():
        total, tokens = conformer_ctc.loss(model, audio, lengths, targets.tolist())
        oracle = model(input_features=features, attention_mask=mask, labels=targets).loss
    assert float(total) / tokens == pytest.approx(float(oracle), rel=1e-4)


def test_an_utterance_too_short_for_its_text_has_zero_loss():
    logits = torch.zeros(1, 2, 5, requires_grad=True)
    loss = ctc_loss(logits, torch.tensor([2]), [[1, 2, 3, 1]])
    assert loss.item() == 0
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_spec_augment_masks_only_a_part():
    torch.manual_seed(0)
    masked = (conformer_ctc.spec_augmented(torch.ones(4, 100, 80)) == 0).float().mean(dim=(1, 2))
    assert (masked > 0).all()
    assert (masked < 0.7).all()


def test_the_device_transcribes_with_it(tiny_bundle, tmp_path, prompt):
    trained = with_weights(tiny_bundle, tiny_bundle.weights(), tmp_path / "again")
    assert trained.weights_hash == tiny_bundle.weights_hash
    bake(trained, trained.weights(), "int8", tmp_path)
    recogniser = find(trained).load(trained, tmp_path, 2)
    for audio in (prompt, prompt[:200]):
        recognition = recogniser.recognise(audio)
        assert recognition.text == " ".join(word.text for word in recognition.words)
        assert all(0 <= w.start_s < w.end_s <= max(0.1, len(audio) / 16000) for w in recognition.words)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_onnx_asr_gives_the_same_hypothesis(tiny_bundle, tmp_path, prompt, quantization):
    """The hypotheses of the tiny model are nonsense, but both runtimes must give the same."""
    import onnx_asr

    bake(tiny_bundle, tiny_bundle.weights(), "fp32", tmp_path / "baked")
    ours = find(tiny_bundle).load(tiny_bundle, tmp_path / "baked", 2).recognise(prompt).text
    export_nemo(tiny_bundle, quantization or "fp32", tmp_path / "nemo")
    theirs = onnx_asr.load_model("nemo-conformer-ctc", tmp_path / "nemo", quantization=quantization)
    hypothesis = theirs.recognize(prompt)
    assert ours
    if quantization is None:
        assert hypothesis == ours
    else:
        assert set(hypothesis) & set(ours)


@pytest.mark.slow
def test_adapt_reweight_rollback_and_revert_on_the_command_line(tiny_bundle, codes, run, tmp_path):
    """The tiny model's hypotheses are nonsense, so --force overrides the gate; the test checks the commands."""

    def asr(*arguments):
        done = run(*arguments, ASR_EDGE_HOME=str(tmp_path / "own"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = ("--model", tiny_bundle.folder)
    asr("import", codes, "--domain", "codes")
    adapted = json.loads(asr("adapt", "--domain", "codes", *model, "--epochs", 2, "--force", "--json"))
    assert adapted["promoted"]
    assert len(adapted["losses"]) == 2
    asr("reweight", 1, "--lambda", 0.3, *model, "--force")
    assert "lambda 0.3" in asr("log", *model)
    asr("rollback", *model)
    assert "lambda 0.6" in asr("log", *model)
    assert "encoder.layers.1" in asr("show", 1, *model)
    asr("vector", "export", 1, "codes.safetensors", *model)
    asr("revert", 1, *model)
    asr("vector", "import", "codes.safetensors", *model, "--force")
    versions = json.loads(asr("report", *model, "--json"))["versions"]
    assert [version["why"] for version in versions] == ["the base model", "adapt codes", "revert 1", "import codes"]
    asr("export", *model, "--out", "exported")
    assert (tmp_path / "exported" / "int8" / "ctc.onnx").is_file()
