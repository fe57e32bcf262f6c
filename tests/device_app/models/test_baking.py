"""Temporary baked files are removed after use, and after a kill."""

import os
import signal
import subprocess
import sys

from device_app.models.baking import temporarily_baked
from device_app.paths import CANDIDATE, data_folder

KILLED_IN_USE = """
import os, signal
from device_app.models.baking import temporarily_baked
from device_app.models.bundles import embedded_bundle
with temporarily_baked(embedded_bundle(), embedded_bundle().weights()) as folder:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def candidates():
    return set(data_folder().glob(f"{CANDIDATE}*"))


def test_folders_of_killed_processes_are_removed_and_those_in_use_are_kept(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_USE], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = candidates()
    assert len(left) == 1
    with temporarily_baked(bundle, bundle.weights()) as one, temporarily_baked(bundle, bundle.weights()) as other:
        assert candidates() == {one, other}
        assert (one / "encoder.onnx").is_file()
    assert not candidates()
