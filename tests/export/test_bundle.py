import hashlib
import os
import shutil

import pytest

from editing.errors import BundleError
from export.bundle import WEIGHTS, Bundle
from tests.conftest import edit_record


def test_the_embedded_bundle_is_intact_and_states_its_origin(bundle):
    bundle.check()
    assert (bundle.family, bundle.sampling_rate, bundle.licence) == ("moonshine", 16000, "MIT")
    assert "moonshine-js" in bundle.origin
    assert set(bundle.graphs()) == {"encoder", "decoder"}
    assert "MIT License" in (bundle.folder / "LICENSE").read_text("utf-8")


def test_the_embedded_weights_have_every_parameter_of_the_model(bundle):
    weights = bundle.weights()
    assert sum(array.size for array in weights.values()) == 27_092_736  # the number that transformers reports
    assert (bundle.folder / WEIGHTS).stat().st_size < 28e6


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "graphs/encoder.onnx"])
def test_a_changed_bit_is_detected(copied_bundle, name):
    path = copied_bundle.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=f"{name}: damaged"):
        copied_bundle.check()


def test_a_missing_file_is_detected(copied_bundle):
    (copied_bundle.folder / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json: cannot be read"):
        copied_bundle.check()


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"model\.json is missing"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"files": []}, "wrong type: files"),
        ({"files": {"tokenizer.json": 5}}, "hash of 'tokenizer.json' is not a text"),
        ({"family": None, "licence": 3}, "wrong type: family, licence"),
        ({"files": {"../../etc/passwd": "0"}}, "outside the bundle"),
        ({"files": {"/etc/passwd": "0"}}, "outside the bundle"),
        ({"files": {"..\\secret": "0"}}, "outside the bundle"),
    ],
)
def test_an_invalid_or_malicious_record_is_refused(copied_bundle, changes, message):
    edit_record(copied_bundle, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle.open(copied_bundle.folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_record_that_is_not_a_json_object_is_refused(copied_bundle, text):
    (copied_bundle.folder / "model.json").write_text(text)
    with pytest.raises(BundleError, match=r"model\.json"):
        Bundle.open(copied_bundle.folder)


def test_a_folder_whose_name_is_not_utf_8_is_as_good_as_another(copied_bundle, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.move(copied_bundle.folder, folder)
    assert Bundle.open(folder).tokenizer().get_vocab_size() > 0


def test_a_tokenizer_that_cannot_be_parsed_is_reported_as_damaged(copied_bundle):
    (copied_bundle.folder / "tokenizer.json").write_text("{}", "utf-8")
    edit_record(copied_bundle, files={**copied_bundle.files, "tokenizer.json": hashlib.sha256(b"{}").hexdigest()})
    with pytest.raises(BundleError, match="the tokenizer is damaged"):
        Bundle.open(copied_bundle.folder).tokenizer()
