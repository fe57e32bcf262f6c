import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from device_app.models.active import my_model
from device_app.models.bundles import find_bundle, installed, model_in_use, use
from device_app.models.ledger import Ledger
from device_app.models.model_card import ModelCard, read_card
from device_app.models.moonshine_checkpoint import describe, read_checkpoint
from device_app.models.moonshine_checkpoint import install as install_model
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, BundleError, StorageError
from tests.hub import serving


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


def install(name, folder, language="en"):
    return install_model(describe(name, folder), language)


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_checkpoint_becomes_an_installed_model(checkpoint, own_home, prompt):
    installed_bundle = install("moonshine-tiny", checkpoint)
    assert find_bundle("moonshine-tiny") == installed_bundle
    assert [bundle.folder for bundle in installed()[0].values()][1:] == [own_home / "models" / "moonshine-tiny"]
    assert "not in service" in Transcriber(installed_bundle, threads=2).transcribe(prompt, 16000).text
    with pytest.raises(BadInputError, match="already installed"):
        install("moonshine-tiny", checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "whisper"}, "not the configuration of a Moonshine model"),
        ({"hidden_size": 416}, r"another architecture .*hidden_size"),
        ({"vocab_size": None}, "lacks vocab_size"),
        ({"encoder_num_key_value_heads": 2}, "has encoder_num_key_value_heads that no published"),
        ({"bos_token_id": 99999999}, r"config\.json: bos_token_id is 99999999, but the model has 32768 tokens"),
        ({"vocab_size": 32767}, r"tokenizer\.json: has 32768 tokens, but the model has 32767"),
    ],
)
def test_another_model_is_refused_and_nothing_is_installed(checkpoint, own_home, tmp_path, changes, message):
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BadInputError, match=message):
        install("other", folder)
    assert not (own_home / "models").exists()


def test_the_name_of_a_published_model_of_another_size_is_refused(checkpoint, own_home):
    """Regression: `model list --fits` showed the published WER of the larger model."""
    with pytest.raises(BadInputError, match="has the size of moonshine-tiny, so it cannot be moonshine-base"):
        install("moonshine-base", checkpoint)
    assert not (own_home / "models").exists()


def test_a_model_of_another_owner_is_named_without_the_owner(checkpoint, own_home):
    assert install("someone/my-tiny", checkpoint).name == "my-tiny"


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


def test_a_checkpoint_with_a_weight_too_many_is_refused(checkpoint, own_home, tmp_path, bundle):
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    save_file({**bundle.weights(), "model.adapter.weight": np.zeros(2, np.float32)}, folder / "model.safetensors")
    with pytest.raises(BadInputError, match=r"model\.adapter\.weight is not part of"):
        install("other", folder)


def test_another_vocabulary_uses_the_same_graphs(checkpoint, own_home, tmp_path, bundle, prompt):
    """As the single-language models have: the embedding has more rows, and the words do not change."""
    folder = shutil.copytree(checkpoint, tmp_path / "other")
    weights = bundle.weights()
    embedding = weights["model.decoder.embed_tokens.weight"]
    rows = np.zeros((100, embedding.shape[1]), np.float32)
    weights["model.decoder.embed_tokens.weight"] = np.concatenate([embedding, rows])
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 32868}))
    installed_bundle = install("more-words", folder)
    assert "not in service" in Transcriber(installed_bundle, threads=2).transcribe(prompt, 16000).text


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("---\nlanguage: ja\nlicense: mit\n---\n", ModelCard(("ja",), "mit")),
        ("---\nlanguage: [en, no]\nlicense: apache-2.0\n---\n", ModelCard(("en", "no"), "apache-2.0")),
        (
            "---\nlicense: other\nlicense_name: a b\nlicense_link: https://example.org/l\n---\nText",
            ModelCard((), "a b", "https://example.org/l"),
        ),
        ("no metadata", ModelCard()),
    ],
)
def test_a_model_card_gives_languages_and_licence(tmp_path, text, card):
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path) == card
    assert card.is_free == (card.licence in ("mit", "apache-2.0"))


def test_a_licence_that_spdx_lacks_is_a_reference(tmp_path):
    assert ModelCard(licence="moonshine community (v1)").spdx == "LicenseRef-moonshine-community-v1"
    assert ModelCard().spdx == "LicenseRef-unknown"
    assert ModelCard(licence="mit").spdx == "MIT"


@pytest.mark.parametrize("text", ["---\n[\n---\n", "---\n" + "a: b\n" * 300_000 + "---\n"])
def test_a_damaged_model_card_is_an_error(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(BadInputError, match="model card cannot be read"):
        read_card(tmp_path)


def test_a_card_with_several_languages_needs_a_choice():
    card = ModelCard(("en", "de"))
    with pytest.raises(BadInputError, match="choose one of en, de with --language"):
        card.language()
    with pytest.raises(BadInputError, match="does not list the language 'fr'"):
        card.language("fr")
    assert card.language("de") == "de"
    assert ModelCard(("ja",)).language() == "ja"
    assert ModelCard().language() == "en"


@pytest.fixture
def hub(checkpoint, tmp_path):
    """A hub on this machine with moonshine-tiny-xx, whose licence is not known to allow every use."""
    folder = shutil.copytree(checkpoint, tmp_path / "hub")
    (folder / "README.md").write_text(
        "---\nlanguage: xx\nlicense: other\nlicense_name: community\nlicense_link: https://example.org/licence\n---\n"
    )
    (folder / "LICENSE").write_text("Not for sale.\n")
    with serving(folder, "UsefulSensors/moonshine-tiny-xx") as (address, requested):
        yield (
            {
                "HF_ENDPOINT": address,
                "HF_HOME": str(tmp_path / "hf"),
                "ASR_EDGE_HOME": str(tmp_path / "home"),
                "HF_HUB_DISABLE_XET": "1",
            },
            requested,
        )


def test_pull_shows_licence_and_language_and_installs_after_consent(hub, run, run_process, tmp_path):
    """Uses the real client of the hub with a server on this machine, because tests run offline."""
    environment, requested = hub
    refused = run_process("model", "pull", "moonshine-tiny-xx", stdin=b"n\n", **environment)
    assert refused.returncode == 1
    assert "language xx, licence community https://example.org/licence" in refused.stderr
    assert "not known that this licence allows every use" in refused.stderr
    assert not any("safetensors" in path for path in requested)
    assert not (tmp_path / "home" / "models").exists()

    done = run_process("model", "pull", "moonshine-tiny-xx", "--yes", **environment)
    assert done.returncode == 0, done.stderr
    assert "--model moonshine-tiny-xx" in done.stdout
    listed = json.loads(run("model", "list", "--json", **environment).stdout)
    assert [(model["name"], model["language"]) for model in listed] == [("embedded", "en"), ("moonshine-tiny-xx", "xx")]
    installed_bundle = find_bundle(str(tmp_path / "home" / "models" / "moonshine-tiny-xx"))
    assert installed_bundle.licence == "LicenseRef-community"
    assert installed_bundle.path("LICENSE").read_text() == "Not for sale.\n"
    assert all(array.dtype == np.float32 for array in installed_bundle.weights().values())


def test_the_model_in_use_is_that_of_commands_without_model(checkpoint, own_home, bundle):
    assert model_in_use() == "embedded"
    pulled = install("mine", checkpoint)
    assert use("mine") == pulled
    assert find_bundle(None) == pulled
    assert find_bundle("embedded").weights_hash == bundle.weights_hash
    assert my_model() == pulled
    assert Ledger(pulled).folder != Ledger(find_bundle("embedded")).folder  # each has its own edits
    use(str(bundle.folder))
    assert find_bundle(None) == bundle
    with pytest.raises(BundleError, match="neither an installed model"):
        use("none")
    with pytest.raises(BundleError, match=r"a bundle; 'asr-edge model pull moonshine-tiny-ja' installs it$"):
        use("moonshine-tiny-ja")
    (own_home / "model-in-use.json").write_text("{")
    with pytest.raises(StorageError, match="asr-edge model use embedded"):
        find_bundle(None)
    use("embedded")
    assert find_bundle(None) == bundle


def test_pull_offline_names_the_remedy(run_process, tmp_path):
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = run_process("model", "pull", "moonshine-tiny", **environment)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr.splitlines()[-1]
    assert "--from" in done.stderr


@pytest.mark.parametrize("name", ["..", "embedded", "a/b", "whisper"])
def test_pull_refuses_unknown_names(run, name):
    done = run("model", "pull", name)
    assert done.returncode == 1
    assert done.stderr.startswith(("asr-edge: ", "Downloading"))
