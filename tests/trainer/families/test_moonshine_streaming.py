"""Moonshine Streaming with random weights: whole utterances and speech in parts equal those of transformers."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import MoonshineStreamingConfig, MoonshineStreamingForConditionalGeneration

from device_app.adaptation import test_sets
from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE
from device_app.models.bundles import EMBEDDED
from device_app.recognition.families import find
from device_app.recognition.options import DecodingOptions
from device_app.recognition.transcriber import Transcriber
from editing.errors import BundleError
from export.bake import bake
from export.bundle import Bundle
from tests.conftest import built_once
from tests.trainer.parity import assert_outputs_are_those_of_transformers
from trainer import families
from trainer.convert import convert
from trainer.families import moonshine_streaming
from trainer.strided_convolutions import cut_unused_frames
from trainer.training.data import TrainingUtterance
from trainer.training.finetuning import finetune
from trainer.training.settings import FineTuningSettings

ENCODER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL = {
    "hidden_size": 48,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "encoder_config": {**ENCODER, "num_key_value_heads": 4, "sliding_windows": [[16, 4], [16, 0]]},
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.8},
}


def windows(layers):
    """The sliding windows of transformers' default, for a number of layers: the first and last two look ahead."""
    return [[16, 4], [16, 4], *[[16, 0]] * (layers - 4), [16, 4], [16, 4]]


def published(layers, heads, hidden, encoder):
    """A configuration from the numbers of a model card. Without `proj_out`, its parameters are those published."""
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads}
    of_encoder = {
        "hidden_size": encoder,
        "intermediate_size": 4 * encoder,
        "head_dim": 64,
        "num_key_value_heads": heads,
    }
    encoder_config = sizes | of_encoder | {"sliding_windows": windows(layers)}
    return {**sizes, "hidden_size": hidden, "intermediate_size": 4 * hidden, "encoder_config": encoder_config}


PUBLISHED = {  # millions of parameters
    34: {"encoder_config": {}},  # Tiny: transformers' defaults
    123: published(layers=10, heads=8, hidden=512, encoder=620),  # Small
    245: published(layers=14, heads=10, hidden=640, encoder=768),  # Medium
}


def checkpoint(folder, sizes, spread):
    """Saves a model as transformers does, with the embedded model's tokenizer."""
    torch.manual_seed(0)
    heads = sizes.get("num_attention_heads", 8)
    config = MoonshineStreamingConfig(**sizes, num_key_value_heads=heads)
    model = MoonshineStreamingForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, spread)
        model.proj_out.weight *= 5  # random hypotheses would be dropped as unlikely
        model.proj_out.weight[2] *= 2  # and would hardly ever end
    model.save_pretrained(folder)
    shutil.copyfile(EMBEDDED / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    source = checkpoint(tmp_path_factory.mktemp("streaming"), SMALL, 0.2)
    return Bundle.open(built_once(tmp_path_factory, "tiny-streaming", lambda folder: convert(str(source), folder)))


@pytest.fixture(scope="module")
def model(converted):
    model = moonshine_streaming.build(converted.config)
    families.load_weights(model, converted.weights())
    return model


@pytest.fixture(scope="module")
def fp32(converted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp32")
    bake(converted, converted.weights(), "fp32", folder)
    return folder


def test_the_graphs_have_the_outputs_and_tokens_of_transformers(converted, model, prompt):
    assert moonshine_streaming.verify_graphs(model, converted, converted.weights(), [prompt]) <= 1e-4


def test_speech_in_parts_gives_the_frames_of_the_whole_utterance(converted, fp32, prompt):
    whole = find(converted).load(converted, fp32, 1)._encode(prompt)
    encode = find(converted).load(converted, fp32, 1)._encode
    for end in (700, 8000, 16001, 16002, 40000, len(prompt)):
        found = encode(prompt[:end])
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)
    other_speech = encode(prompt[::-1].copy())  # nothing of the first is kept
    assert np.abs(other_speech[0] - whole[0]).max() > 0.01


def test_a_second_of_speech_costs_the_same_at_the_end_as_at_the_start(converted, fp32, reading):
    encode = find(converted).load(converted, fp32, 1)._encode
    computed = []
    for end in range(SAMPLE_RATE, 20 * SAMPLE_RATE, SAMPLE_RATE // 2):
        before = encode.encoded
        encode(reading[:end])
        computed.append(encode.encoded - before)
    assert max(computed[4:]) == min(computed[4:])
    assert computed[-1] < 25 + 2 * (encode._before + encode._after)  # 25 new frames


def test_live_speech_has_the_words_of_the_whole_recording(converted, prompt):
    transcriber = Transcriber(converted, precision="fp32", threads=1)
    live = transcriber.stream(partial_s=0.5)
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    audio = np.concatenate([prompt, quiet])
    updates = [update for start in range(0, len(audio), 1600) for update in live.feed(audio[start : start + 1600])]
    finals = [update.segment.text for update in [*updates, *live.finish()] if update.is_final]
    again = transcriber.stream(partial_s=0)
    once = [update.segment.text for update in [*again.feed(audio), *again.finish()] if update.is_final]
    assert finals
    assert finals == once


@pytest.mark.parametrize(
    "changes",
    [
        {"max_position_embeddings": None},
        {"eos_token_id": None},
        {"head_dim": "12"},
        *(
            {"encoder_config": {"sliding_windows": windows}}
            for windows in ([[16.0, 4]], [[16]], [16], [["16", 4]], None)
        ),
    ],
)
def test_a_damaged_configuration_is_refused_before_decoding(converted, tmp_path, changes):
    damaged = replace(converted, config={**converted.config, **changes})
    with pytest.raises(BundleError, match=r"the configuration in model.json is damaged"):
        find(damaged).load(damaged, tmp_path, 1)


def test_int8_hypotheses_have_words_with_times_and_take_terms(converted, prompt, tmp_path):
    bake(converted, converted.weights(), "int8", tmp_path)
    options = DecodingOptions(keyterms=["service"])
    recognition = find(converted).load(converted, tmp_path, 1, options).recognise(prompt)
    assert recognition.words
    assert all(0 <= word.start_s <= word.end_s <= len(prompt) / SAMPLE_RATE for word in recognition.words)


def test_the_loss_of_a_padded_batch_is_the_sum_over_single_utterances(model):
    audio = 0.1 * torch.randn(2, 24000, generator=torch.Generator().manual_seed(0))
    audio[1, 15000:] = 0
    targets = [[40, 41, 42], [43, 44]]
    lengths = torch.tensor([24000, 15000])
    with torch.no_grad():
        together, tokens = moonshine_streaming.loss(model, audio, lengths, targets)
        alone = [
            float(moonshine_streaming.loss(model, audio[i : i + 1, :n], lengths[i : i + 1], [targets[i]])[0])
            for i, n in enumerate(lengths.tolist())
        ]
    assert tokens == 5
    assert float(together) == pytest.approx(sum(alone), rel=1e-4)


def test_it_can_be_fine_tuned(converted, prompt):
    tokens = moonshine_streaming.tokenise(converted)("one two")
    examples = [TrainingUtterance(audio=prompt, samples=prompt, end=len(prompt), tokens=tokens)]
    tuned = finetune(converted, converted.weights(), examples, [], FineTuningSettings(epochs=8, learning_rate=1e-3))
    assert tuned.training_losses[-1] < tuned.training_losses[0]


def test_convolutions_get_only_frames_that_they_use(converted):
    """Regression: on CPUs with AMX, the gradient read memory behind an unused frame, and fine-tuning ended with NaN."""
    whole, prepared = (moonshine_streaming.build(converted.config) for _ in range(2))
    for model in (whole, prepared):
        families.load_weights(model, converted.weights())
    cut_unused_frames(prepared)
    lengths = []
    for convolution in (prepared.model.encoder.embedder.conv1, prepared.model.encoder.embedder.conv2):
        convolution.register_forward_pre_hook(lambda _module, inputs: lengths.append(inputs[0].shape[2]))
    for frames in (40, 41, 42, 43):
        audio, count = torch.randn(1, 80 * frames), torch.tensor([80 * frames])
        outputs = [moonshine_streaming.log_probabilities(one, audio, count, [[5, 2]]) for one in (whole, prepared)]
        torch.testing.assert_close(*outputs)
    assert lengths == [39, 19, 41, 21, 41, 21, 43, 21]


@pytest.mark.slow
@pytest.mark.parametrize("millions", PUBLISHED)
def test_a_published_shape_is_converted_adapted_and_exported(millions, tmp_path, run, codes, monkeypatch, prompt):
    sizes = PUBLISHED[millions]
    source = checkpoint(tmp_path / "source", sizes, 0.06 * math.sqrt(320 / sizes.get("hidden_size", 320)))
    some = guard_set()[:4]
    monkeypatch.setattr(test_sets, "guard_set", lambda _language="en": some)
    few = codes.with_name("few.jsonl")
    few.write_text("".join(codes.read_text("utf-8").splitlines(keepends=True)[:12]), "utf-8")

    def asr(*arguments):
        done = run(*arguments, ASR_EDGE_HOME=str(tmp_path / "own"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    asr("convert", source, "--out", tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    model = moonshine_streaming.build(bundle.config)
    families.load_weights(model, bundle.weights())
    parameters = sum(one.numel() for one in model.parameters()) - model.proj_out.weight.numel()
    assert round(parameters / 1e6) == millions
    assert_outputs_are_those_of_transformers(moonshine_streaming, model, bundle, prompt, tmp_path / "fp32")
    asr("import", few, "--domain", "codes")
    adapted = json.loads(
        asr("adapt", "--domain", "codes", "--model", bundle.folder, "--epochs", 1, "--force", "--json")
    )
    assert adapted["promoted"]
    assert np.isfinite(adapted["losses"]).all()
    asr("revert", 1, "--model", bundle.folder)
    asr("export", "--model", bundle.folder, "--out", "exported")
