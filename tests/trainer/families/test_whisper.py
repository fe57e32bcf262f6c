"""Whisper with random weights: its graphs and tokens equal those of transformers, and it can be adapted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from device_app.adaptation import test_sets
from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.families import find
from device_app.recognition.options import DecodingOptions
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, BundleError
from export.bake import bake
from export.bundle import Bundle
from tests.conftest import built_once
from trainer import families
from trainer.convert import convert
from trainer.families import whisper
from trainer.training.data import TrainingUtterance
from trainer.training.finetuning import finetune
from trainer.training.settings import FineTuningSettings

SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|0.00|>",
]
SMALL = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_source_positions": 300,  # 6 s
    "max_target_positions": 64,
    "vocab_size": 300,
    "init_std": 0.3,
}
# As published with openai/whisper-tiny, -base and -small.
PUBLISHED = {
    name: {
        "d_model": size,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": size // 64,
        "decoder_attention_heads": size // 64,
        "encoder_ffn_dim": 4 * size,
        "decoder_ffn_dim": 4 * size,
        "vocab_size": 51865,
        "init_std": 0.06,
    }
    for name, size, layers in (("tiny", 384, 4), ("base", 512, 6), ("small", 768, 12))
}


def checkpoint(folder, sizes):
    """Saves a model as transformers does, with a byte-level tokenizer of single bytes."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    end, start, *_ = (tokenizer.token_to_id(token) for token in SPECIAL)
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(**sizes, **special, suppress_tokens=None, begin_suppress_tokens=None)
    )
    with torch.no_grad():
        # Every hypothesis is one letter, because random ones are unlikely, without text, or without end: the position
        # after the first token has a direction of its own, and the end token has the same.
        weight, positions = model.model.decoder.embed_tokens.weight, model.model.decoder.embed_positions.weight
        letters = [alphabet.index(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
        rows = 8 * weight[letters]
        weight.zero_()
        weight[letters] = rows
        direction = torch.randn(sizes["d_model"])
        positions[4:] += 10 * direction
        weight[end] = 40 / sizes["d_model"] ** 0.5 * direction / direction.norm()
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    generation = {
        "is_multilingual": True,
        "suppress_tokens": [1, 2],
        "begin_suppress_tokens": [alphabet.index("\u0120"), end],
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "README.md").write_text("---\nlanguage: [en, de]\nlicense: apache-2.0\n---\n")
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    source = checkpoint(tmp_path_factory.mktemp("whisper"), SMALL)
    return Bundle.open(
        built_once(tmp_path_factory, "tiny-whisper", lambda folder: convert(str(source), folder, language="de"))
    )


@pytest.fixture(scope="module")
def model(converted):
    model = whisper.build(converted.config)
    families.load_weights(model, converted.weights())
    return model


def test_the_graphs_have_the_outputs_and_tokens_of_transformers(converted, model, prompt):
    assert whisper.verify_graphs(model, converted, converted.weights(), [prompt]) <= 1e-4


def test_the_features_are_those_of_transformers(prompt):
    front_end = whisper.WhisperLogMel(80, 30 * SAMPLE_RATE)
    expected = WhisperFeatureExtractor()(prompt, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    padded = torch.nn.functional.pad(torch.from_numpy(prompt), (0, 30 * SAMPLE_RATE - len(prompt)))
    torch.testing.assert_close(front_end(padded[None]), expected, atol=1e-4, rtol=0)


def test_the_start_tokens_name_the_language(converted):
    tokenizer = converted.tokenizer()
    names = [tokenizer.id_to_token(token) for token in converted.config["start"]]
    assert names == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    assert (converted.language, converted.licence) == ("de", "Apache-2.0")


def test_a_language_must_be_chosen_and_known(tmp_path):
    source = checkpoint(tmp_path / "source", SMALL)
    with pytest.raises(BadInputError, match="choose one of en, de with --language"):
        convert(str(source), tmp_path / "out")
    (source / "README.md").unlink()
    with pytest.raises(BadInputError, match=r"no token <\|fr\|>"):
        convert(str(source), tmp_path / "out", language="fr")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"start": []},
        {"start": "ab"},
        {"suppressed": "ab"},
        {"suppressed_first": [1.0]},
        {"transformers": {"max_target_positions": None}},
        {"transformers": {"max_source_positions": "10"}},
        {"transformers": {"eos_token_id": None}},
        {"transformers": {"vocab_size": 10**12}},
        {"transformers": {"decoder_layers": "2"}},
    ],
)
def test_a_damaged_configuration_is_refused_before_decoding(converted, tmp_path, changes):
    more = {"transformers": {**converted.config["transformers"], **changes.get("transformers", {})}}
    damaged = replace(converted, config={**converted.config, **changes, **more})
    with pytest.raises(BundleError, match=r"the configuration in model.json is damaged"):
        find(damaged).load(damaged, tmp_path, 1)


def test_a_configuration_of_other_audio_than_that_of_the_graphs_is_refused(converted, tmp_path):
    bake(converted, converted.weights(), "fp32", tmp_path)
    sizes = {**converted.config["transformers"], "max_source_positions": 1 << 20}
    other = replace(converted, config={**converted.config, "transformers": sizes})
    with pytest.raises(BundleError, match=r"the configuration in model.json is not that of the graphs"):
        find(other).load(other, tmp_path, 1)


def test_int8_hypotheses_have_text_words_and_times_but_no_special_tokens(converted, prompt, tmp_path):
    bake(converted, converted.weights(), "int8", tmp_path)
    options = DecodingOptions(keyterms=["service"])
    recognition = find(converted).load(converted, tmp_path, 1, options).recognise(prompt)
    assert recognition.text
    assert "<|" not in recognition.text
    assert "".join(word.text for word in recognition.words).replace(" ", "") == recognition.text.replace(" ", "")
    assert all(0 <= word.start_s <= word.end_s <= len(prompt) / SAMPLE_RATE for word in recognition.words)


def test_audio_longer_than_the_encoder_takes_is_recognised_in_parts(converted, prompt):
    text = Transcriber(converted, threads=1).transcribe(np.concatenate([prompt, prompt]), SAMPLE_RATE).text
    assert text


def test_the_loss_of_a_padded_batch_is_the_sum_over_single_utterances(model):
    audio = 0.1 * torch.randn(2, 24000, generator=torch.Generator().manual_seed(0))
    audio[1, 15000:] = 0
    targets = [[40, 41, 42], [43, 44]]
    lengths = torch.tensor([24000, 15000])
    with torch.no_grad():
        together, tokens = whisper.loss(model, audio, lengths, targets)
        alone = [
            float(whisper.loss(model, audio[i : i + 1, :n], lengths[i : i + 1], [targets[i]])[0])
            for i, n in enumerate(lengths.tolist())
        ]
    assert tokens == 5
    assert float(together) == pytest.approx(sum(alone), rel=1e-4)


def test_the_outputs_of_the_device_are_those_of_training(converted, model, prompt, tmp_path):
    from device_app.audio.margins import with_margins

    bake(converted, converted.weights(), "fp32", tmp_path)
    found = find(converted).load(converted, tmp_path, 1).log_probabilities(prompt, "one")
    audio = torch.from_numpy(with_margins(prompt)[0])[None]
    with torch.no_grad():
        expected = whisper.log_probabilities(model, audio, torch.tensor([0]), [whisper.tokenise(converted)("one")])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_it_can_be_fine_tuned(converted, prompt):
    examples = [
        TrainingUtterance(audio=prompt, samples=prompt, end=len(prompt), tokens=whisper.tokenise(converted)("one two"))
    ]
    tuned = finetune(converted, converted.weights(), examples, [], FineTuningSettings(epochs=8, learning_rate=1e-3))
    assert tuned.training_losses[-1] < tuned.training_losses[0]
    assert tuned.weights.keys() == converted.weights().keys()


@pytest.mark.slow
@pytest.mark.parametrize("size", PUBLISHED)
def test_a_published_shape_is_converted_adapted_and_exported(size, tmp_path, run, codes, monkeypatch):
    """With 12 codes and a guard set of two: Small computes for a minute on each utterance, padded to 30 s."""
    source = checkpoint(tmp_path / "source", PUBLISHED[size])
    some = guard_set()[:2]
    monkeypatch.setattr(test_sets, "guard_set", lambda _language="en": some)
    few = codes.with_name("few.jsonl")
    few.write_text("".join(codes.read_text("utf-8").splitlines(keepends=True)[:12]), "utf-8")

    def asr(*arguments):
        done = run(*arguments, ASR_EDGE_HOME=str(tmp_path / "own"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    asr("convert", source, "--out", tmp_path / "bundle", "--language", "en")  # compares numbers and greedy tokens
    bundle = Bundle.open(tmp_path / "bundle")
    model = whisper.build(bundle.config)
    families.load_weights(model, bundle.weights())
    print(f"whisper-{size}: largest difference {whisper.verify_graphs(model, bundle, bundle.weights()):.1e}")
    print({path.name: path.stat().st_size for path in bundle.graphs().values()})
    asr("model", "use", bundle.folder)
    asr("import", few, "--domain", "codes")
    adapted = json.loads(asr("adapt", "--domain", "codes", "--epochs", 1, "--force", "--json"))
    assert adapted["promoted"]
    assert np.isfinite(adapted["losses"]).all()
    asr("revert", 1)
    asr("export", "--out", "exported")
    assert (tmp_path / "exported" / "int8" / "decoder.onnx").is_file()
