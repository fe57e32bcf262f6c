import importlib.util
import json
import shutil
import subprocess
import sys

import jiwer
import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
import torch
import typer
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from device_app.audio.samples import read
from device_app.data.manifest import read_manifest
from device_app.evaluation.error_rates import english
from device_app.models.baking import baked
from device_app.models.bundles import EMBEDDED
from device_app.paths import RECORDINGS
from device_app.recognition.families import find
from device_app.recognition.options import DecodingOptions
from editing.errors import BadInputError
from tests.conftest import CORPUS
from trainer import families
from trainer.convert import convert
from trainer.convert.moonshine import TINY, convert_pair, main, read_published_pair
from trainer.families import moonshine


def published_like(path, nodes, arrays):
    """Writes an ONNX file with the published names of nodes and tensors, but without a computation."""
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "published", [], [], initialisers)
    onnx.save(helper.make_model(graph), path)


def product(name, weight):
    return helper.make_node("MatMulInteger", ["x", weight, "xz", "wz"], [f"{name}.y"], name=f"/{name}/MatMul_quant")


@pytest.fixture
def pair(tmp_path):
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    encoder = {
        "onnx::MatMul_1_quantized": codes,
        "onnx::MatMul_1_scale": np.float32(0.5),
        "onnx::MatMul_1_zero_point": np.uint8(2),
        "conv1.weight_quantized": np.int8([[[-1, 3]]]),
        "conv1.weight_scale": np.float32([0.25]),
        "conv1.weight_zero_point": np.float32([0.125]),
        "conv2.bias": np.float32([7]),
        "layer_norm.weight": np.float32([1, 2]),
        "onnx::Mul_9": np.full((TINY["hidden_size"], 1), 3, np.float32),
        "onnx::Add_10": np.full((TINY["hidden_size"], 1), 4, np.float32),
        "/Constant_output_0": np.int64([1]),
    }
    decoder = {
        "model.decoder.embed_tokens.weight_merged_0_quantized": codes,
        "model.decoder.embed_tokens.weight_merged_0_scale": np.float32(2),
        "model.decoder.embed_tokens.weight_merged_0_zero_point": np.uint8(1),
        "onnx::MatMul_5_merged_0_quantized": codes,
        "onnx::MatMul_5_merged_0_scale": np.float32(1),
        "onnx::MatMul_5_merged_0_zero_point": np.uint8(0),
        "model.decoder.layers.0.mlp.up_proj.bias_merged_0": np.float32([5, 6]),
    }
    published_like(
        tmp_path / "encoder_model.onnx",
        [product("layers.0/self_attn/dense", "onnx::MatMul_1_quantized")],
        encoder,
    )
    branch = helper.make_graph(
        [product("model/decoder/layers.0/mlp/down_proj", "onnx::MatMul_5_merged_0_quantized")], "then", [], []
    )
    published_like(
        tmp_path / "decoder_model_merged.onnx",
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        decoder,
    )
    return tmp_path


def test_published_tensors_get_parameter_names(pair):
    """Tests each rule of the table in MOONSHINE.md."""
    tensors = read_published_pair(pair)
    values = {name: t if isinstance(t, np.ndarray) else t.dequantise() for name, t in tensors.items()}
    codes = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "model.encoder.layers.0.self_attn.o_proj.weight": (codes.T - 2) * 0.5,
        "model.encoder.conv1.weight": [[[-0.125, 0.875]]],
        "model.encoder.conv2.bias": [7],
        "model.encoder.layer_norm.weight": [1, 2],
        "model.encoder.groupnorm.weight": [3] * TINY["hidden_size"],
        "model.encoder.groupnorm.bias": [4] * TINY["hidden_size"],
        "model.decoder.embed_tokens.weight": (codes - 1) * 2,
        "model.decoder.layers.0.mlp.fc2.weight": codes.T,
        "model.decoder.layers.0.mlp.fc1.bias": [5, 6],
    }
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], np.float32(value), err_msg=name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "tokenizer.json is missing"),
        ({"tokenizer.json": b"{}"}, "has no encoder_model.onnx"),
        ({"tokenizer.json": b"{}", "encoder_model.onnx": b"\x80pickle"}, "cannot be read as ONNX"),
    ],
)
def test_a_folder_without_the_published_files_is_refused_and_nothing_written(tmp_path, files, message):
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(BadInputError, match=message):
        convert_pair(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_script_reports_an_error_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["moonshine", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        typer.run(main)  # as `python -m trainer.convert.moonshine` does
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "tokenizer.json is missing" in error


@pytest.mark.slow
def test_converting_the_hub_checkpoint_gives_the_embedded_graphs(bundle, tmp_path):
    """Today's export equals the committed graphs, and fp32 weights are not changed."""
    source = tmp_path / "in"
    source.mkdir()
    weights = bundle.weights()
    save_file(weights, source / "model.safetensors")
    shutil.copyfile(EMBEDDED / "tokenizer.json", source / "tokenizer.json")
    (source / "config.json").write_text(json.dumps({**bundle.config, "model_type": "moonshine"}))
    made = convert(str(source), tmp_path / "out")
    assert made.config == bundle.config
    found = made.weights()
    assert all(np.array_equal(found[name], array) for name, array in weights.items())
    audio = read(RECORDINGS / "invalid.flac")
    texts = {find(b).load(b, baked(b), 2).recognise(audio).text for b in (made, bundle)}
    assert len(texts) == 1


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published files from the package registries; skips if these cannot be reached."""
    folder = tmp_path_factory.mktemp("published")
    commands = (
        ["npm", "pack", "--silent", "@moonshine-ai/moonshine-js@0.1.29"],
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "useful-moonshine-onnx==20251121"],
    )
    for command in commands:
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
            pytest.skip(f"the registry cannot be reached: {' '.join(command)}")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder, filter="data")
    shutil.unpack_archive(next(folder.glob("*.whl")), folder, format="zip")
    for path in [*folder.rglob("quantized/*.onnx"), *folder.rglob("tokenizer.json")]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.slow
def test_the_embedded_bundle_is_the_published_model(published, bundle, tmp_path):
    made = convert_pair(published, tmp_path / "out")
    assert made.files["weights.safetensors"] == bundle.weights_hash
    assert made.config == bundle.config


@pytest.mark.slow
def test_the_encoder_output_is_close_to_the_published_one(published, bundle, prompt):
    """Within 1e-4 up to the group norm. After it, the published file quantises activations: about 5 %."""
    encoder = onnx.load(published / "encoder_model.onnx")
    normalised = next(n.output[0] for n in encoder.graph.node if n.op_type == "Add" and "groupnorm" in n.name)
    encoder.graph.output.append(helper.make_tensor_value_info(normalised, TensorProto.FLOAT, None))
    found, found_norm = onnxruntime.InferenceSession(encoder.SerializeToString()).run(
        None, {"input_values": prompt[None]}
    )
    model = moonshine.build(bundle.config)
    families.load_weights(model, bundle.weights())
    with torch.no_grad():
        module = model.model.encoder
        norm = module.groupnorm(torch.tanh(module.conv1(torch.from_numpy(prompt)[None, None]))).numpy()
        expected = module(torch.from_numpy(prompt)[None]).last_hidden_state.numpy()
    assert np.abs(found_norm - norm).max() <= 1e-4 * np.abs(norm).max()
    assert np.linalg.norm(found - expected) <= 0.08 * np.linalg.norm(expected)


@pytest.mark.slow
def test_hypotheses_hardly_differ_from_those_of_the_published_pair(published, bundle):
    """Runs the published pair with its own runtime, and our fp32 and int8 files, which add silence to the audio."""
    location = published / "moonshine_onnx" / "model.py"
    spec = importlib.util.spec_from_file_location("published_runtime", location)
    runtime = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtime)
    model = runtime.MoonshineOnnxModel(models_dir=str(published), model_name="tiny")
    tokenizer = tokenizers.Tokenizer.from_file(str(published / "tokenizer.json"))
    ours = [
        find(bundle).load(bundle, baked(bundle, precision), 2, DecodingOptions(beam=1))
        for precision in ("fp32", "int8")
    ]
    prompts = [entry.audio for entry in read_manifest(RECORDINGS / "manifest.jsonl") if entry.speaker == "allison"]
    recordings = [read(path) for path in (*prompts, published / "moonshine_onnx" / "assets" / "beckett.wav")]
    expected = [english(tokenizer.decode(model.generate(audio[None])[0])) for audio in recordings]
    for recogniser in ours:
        assert jiwer.wer(expected, [english(recogniser.recognise(audio).text) for audio in recordings]) < 0.03


@pytest.mark.slow
@pytest.mark.corpus
def test_onnx_gives_the_same_tokens_as_torch_on_real_audio(bundle):
    """Compares fp32 ONNX with transformers' greedy decoding, token by token."""
    if not CORPUS.is_dir():
        pytest.skip(f"the development recordings are missing: {CORPUS}")
    model = moonshine.build(bundle.config)
    weights = bundle.weights()
    families.load_weights(model, weights)
    paths = sorted((CORPUS / "read-speech" / "audio").glob("*.flac"))
    assert moonshine.verify_graphs(model, bundle, weights, [read(path) for path in paths]) <= 1e-4
