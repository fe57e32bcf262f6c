"""Sessions of ONNX Runtime."""

import os
import shutil

import pytest

from device_app.models.baking import baked
from device_app.recognition.onnx_session import session
from editing.errors import BundleError


def test_a_model_in_a_folder_whose_name_is_not_utf_8_is_loaded(bundle, home, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(baked(bundle) / "encoder.onnx", folder)
    assert session(folder / "encoder.onnx", threads=1).get_inputs()


def test_a_file_that_is_no_model_is_reported(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"encoder\.onnx: cannot be loaded .*; install the bundle again"):
        session(tmp_path / "encoder.onnx", threads=1)
