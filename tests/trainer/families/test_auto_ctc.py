"""CTC models of transformers as bundles, tested with tiny random models."""

import json

import numpy as np
import pytest
import torch
import transformers

from device_app.recognition.families import find
from editing.errors import BadInputError
from export.bake import bake
from export.verify import largest_difference
from trainer import families
from trainer.convert import convert
from trainer.families import auto_ctc
from trainer.training.data import TrainingUtterance
from trainer.training.loop import finetune
from trainer.training.settings import FineTuningSettings

LETTERS = "ETAONIHSRDLUMWCFGYPBVK'XJQZ"
VOCABULARY = {piece: n for n, piece in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": len(VOCABULARY),
    "pad_token_id": 0,
}
KINDS = {
    "wav2vec2": (transformers.Wav2Vec2Config, {}),
    "wav2vec2-layer-norm": (transformers.Wav2Vec2Config, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert": (transformers.HubertConfig, {}),
}


def saved(folder, kind, vocabulary=VOCABULARY):
    configuration, changes = KINDS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCTC.from_config(configuration(**SMALL, **changes)).eval()
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    return model


@pytest.fixture(
    scope="module",
    params=["wav2vec2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wav2vec2-layer-norm", "hubert"))],
)
def converted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    original = saved(folder / "hf", request.param)
    return original, convert(str(folder / "hf"), folder / "bundle")


@pytest.mark.parametrize("samples", [1600, 20001])
def test_the_graph_has_the_outputs_of_transformers(converted, tmp_path, samples):
    import onnxruntime

    original, bundle = converted
    audio = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))
    normalised = (audio - audio.mean()) / torch.sqrt(audio.var(correction=0) + 1e-7)
    with torch.no_grad():
        logits = original(normalised).logits[0]
    own = [*range(4, len(VOCABULARY)), 0]  # the letters, then the blank
    expected = torch.log_softmax(logits[:, own], dim=-1).numpy()
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.2)):
        bake(bundle, bundle.weights(), precision, tmp_path)
        (found,) = onnxruntime.InferenceSession(tmp_path / "ctc.onnx").run(None, {"audio": audio.numpy()})
        assert largest_difference(expected, found[0]) < tolerance


def test_the_bundle_transcribes_and_can_be_fine_tuned(converted, prompt, tmp_path):
    _, bundle = converted
    bake(bundle, bundle.weights(), "int8", tmp_path)
    assert isinstance(find(bundle).load(bundle, tmp_path, 1).recognise(prompt[:16000]).text, str)
    tokens = auto_ctc.tokenise(bundle)("it's me")
    assert len(tokens) == 8  # with a word-start mark before each word
    path = tmp_path / "a.flac"
    import soundfile

    soundfile.write(path, prompt[:16000], 16000)
    examples = [TrainingUtterance(audio=path, end=16000, tokens=tokens)]
    tuned = finetune(bundle, bundle.weights(), examples, [], FineTuningSettings(epochs=12, learning_rate=3e-3))
    assert tuned.training_losses[-1] < 0.8 * tuned.training_losses[0]
    assert tuned.weights.keys() == bundle.weights().keys()


def test_the_loss_of_a_padded_batch_is_the_sum_over_single_utterances(converted):
    _, bundle = converted
    model = auto_ctc.build(bundle.config)
    families.load_weights(model, bundle.weights())
    audio = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))
    audio[1, 8000:] = 0
    together = auto_ctc.loss(model, audio, torch.tensor([16000, 8000]), [[5, 6], [7]])[0]
    alone = auto_ctc.loss(model, audio[:1], torch.tensor([16000]), [[5, 6]])[0]
    alone = alone + auto_ctc.loss(model, audio[1:, :8000], torch.tensor([8000]), [[7]])[0]
    torch.testing.assert_close(together, alone)


@pytest.mark.slow
def test_parakeet_is_converted_to_conformer_ctc(tmp_path, tiny_bundle):
    """Saves our tiny conformer as transformers does; the converted bundle must have the same weights."""
    from trainer.families import conformer_ctc

    model = conformer_ctc.build(tiny_bundle.config)
    families.load_weights(model, tiny_bundle.weights())
    del model.front_end
    folder = tmp_path / "parakeet"
    model.save_pretrained(folder)
    record = json.loads((tiny_bundle.folder / "tokenizer.json").read_text())
    blank = tiny_bundle.config["vocab_size"] - 1
    pad = {"id": blank, "content": "<pad>", "special": True}
    record["added_tokens"] = [{**pad, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}]
    (folder / "tokenizer.json").write_text(json.dumps(record))
    bundle = convert(str(folder), tmp_path / "bundle")
    assert bundle.family == "conformer-ctc"
    for name, tensor in tiny_bundle.weights().items():
        np.testing.assert_array_equal(bundle.weights()[name], tensor)
    assert conformer_ctc.tokenise(bundle)("it's") == conformer_ctc.tokenise(tiny_bundle)("it's")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"<pad>": 0, "a": 1, "b": 2}, "between words"),
        ({"<pad>": 0, "|": 1, "th": 2}, "not a single character"),
    ],
)
def test_other_kinds_of_vocabularies_are_refused(tmp_path, vocabulary, message):
    saved(tmp_path / "hf", "wav2vec2", vocabulary)
    with pytest.raises(BadInputError, match=message):
        convert(str(tmp_path / "hf"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_other_models_and_pickled_weights_are_refused(tmp_path):
    folder = tmp_path / "hf"
    saved(folder, "wav2vec2")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadInputError, match="safetensors"):
        convert(str(folder), tmp_path / "bundle")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(BadInputError, match="a model of the type 'llama'"):
        convert(str(folder), tmp_path / "bundle")
    with pytest.raises(BadInputError, match=r"not a model of transformers \(config\.json is missing"):
        convert(str(tmp_path), tmp_path / "bundle")
    with pytest.raises(BadInputError, match="neither a folder nor a name"):
        convert("no such/ folder", tmp_path / "bundle")
