import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save_file

from device_app.models.bundles import find_bundle, installed
from device_app.models.moonshine_checkpoint import HUB, install, read_checkpoint
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, BundleError


@pytest.fixture(scope="module")
def checkpoint(bundle, tmp_path_factory):
    """The embedded model in the form of the hub: fp32 safetensors, and a config of transformers 4."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_file(bundle.weights(), folder / "model.safetensors")
    shutil.copyfile(bundle.folder / "tokenizer.json", folder / "tokenizer.json")
    config = {key: value for key, value in bundle.config.items() if key not in ("rope_parameters", "pad_token_id")}
    config |= {
        "model_type": "moonshine",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.9,
        "attention_bias": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_checkpoint_becomes_an_installed_model(checkpoint, own_home, prompt):
    installed_bundle = install("moonshine-tiny", checkpoint)
    assert find_bundle("moonshine-tiny") == installed_bundle
    assert [bundle.folder for bundle in installed()][1:] == [own_home / "models" / "moonshine-tiny"]
    assert "not in service" in Transcriber(installed_bundle, threads=2).transcribe(prompt, 16000).text
    with pytest.raises(BadInputError, match="already in use"):
        install("moonshine-tiny", checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "whisper"}, "not the configuration of a Moonshine model"),
        ({"hidden_size": 416}, r"another architecture .*hidden_size"),
        ({"vocab_size": None}, "another architecture"),
    ],
)
def test_another_model_is_refused_and_nothing_is_installed(checkpoint, own_home, tmp_path, changes, message):
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BadInputError, match=message):
        install("other", folder)
    assert not (own_home / "models").exists()


def test_a_checkpoint_with_a_weight_missing_is_refused(checkpoint, own_home, tmp_path, bundle):
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    weights = bundle.weights()
    weights.pop("model.encoder.conv2.bias")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BadInputError, match=r"conv2\.bias is missing"):
        install("other", folder)


def test_files_that_are_missing_or_damaged_are_named(checkpoint, tmp_path):
    with pytest.raises(BadInputError, match=r"config\.json, model\.safetensors, tokenizer\.json missing"):
        read_checkpoint(tmp_path)
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError, match="safetensors"):
        read_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(BadInputError, match=r"config\.json: cannot be read"):
        read_checkpoint(folder)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's API that its client needs to download a repository."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self):
        repository = HUB["moonshine-tiny"]
        if self.path.startswith(f"/api/models/{repository}/tree/"):
            files = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                for p in sorted(self.folder.iterdir())
            ]
            return self.answer(json.dumps(files).encode())
        if self.path.startswith(f"/api/models/{repository}"):
            names = [{"rfilename": p.name} for p in sorted(self.folder.iterdir())]
            record = {"id": repository, "_id": "0", "sha": COMMIT, "siblings": names, "private": False}
            return self.answer(json.dumps({**record, "tags": [], "downloads": 0, "likes": 0}).encode())
        path = self.folder / self.path.rpartition("/")[2]
        if self.path.startswith(f"/{repository}/resolve/") and path.is_file():
            return self.answer(path.read_bytes(), ETag=f'"{path.name}"')
        return self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, data, **headers):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def test_pull_fetches_from_the_hub(checkpoint, run_process, tmp_path, prompt):
    """Uses the real client of the hub with a server on this machine, because tests run offline."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, checkpoint))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "ASR_EDGE_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    try:
        done = run_process("model", "pull", "moonshine-tiny", **environment)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert "--model moonshine-tiny" in done.stdout
    listed = json.loads(run_process("model", "list", "--json", **environment).stdout)
    assert [model["name"] for model in listed] == ["embedded", "moonshine-tiny"]
    weights = find_bundle(str(tmp_path / "home" / "models" / "moonshine-tiny")).weights()
    assert all(array.dtype == np.float32 for array in weights.values())


def test_pull_offline_names_the_remedy(run_process, tmp_path):
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = run_process("model", "pull", "moonshine-tiny", **environment)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr.splitlines()[-1]
    assert "--from" in done.stderr


@pytest.mark.parametrize("name", ["..", "embedded", "a/b", "whisper"])
def test_pull_refuses_unknown_names(run_process, name):
    done = run_process("model", "pull", name)
    assert done.returncode == 1
    assert done.stderr.startswith(("asr-edge: ", "Downloading"))
