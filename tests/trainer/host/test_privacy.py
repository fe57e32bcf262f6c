"""Whatever the umask, only its owner can read the files of a host."""

import os
import subprocess

import pytest

from device_app.remote.client import HostClient
from device_app.remote.training import fetch, send
from trainer.executors import LocalExecutor


@pytest.fixture(params=[0o000, 0o022], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def accessible_to_others(folder):
    done = subprocess.run(["find", folder, "-perm", "/077"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow  # test_jobs.py looks at the files of a worker in the default run
def test_files_of_a_job_are_private_from_upload_to_result(
    one_processor, umask, serve, keys, packed, trusted, host_home, make_jobs, client_of, tmp_path
):
    seen = []

    class Watched(LocalExecutor):
        """Lists the files when a worker process starts."""

        def start(self, task):
            running = super().start(task)
            seen.append([path.name for path in (host_home / "host" / "jobs").rglob("*")])
            return running

    url = serve(Watched())
    job = packed(url)
    assert accessible_to_others(host_home) == []
    with HostClient(trusted(url), lambda _message: None) as client:
        job = send(job, client, lambda _sent: None)
        looked = []

        def look(_state):
            looked.append(accessible_to_others(host_home))

        result = fetch(job, client, look)
        client.contribute("crew", result.vector.to_bytes())
    assert result.vector.norm > 0
    assert any("dataset.tar" in names for names in seen)
    assert looked
    assert all(found == [] for found in looked), looked
    assert {path.name for path in (host_home / "host").iterdir()} >= {"fleet", "host.sqlite", "jobs", "signing.pem"}
    assert accessible_to_others(host_home) == []


def test_token_add_creates_a_private_folder(umask, run, tmp_path):
    """Regression: only `host init` created the folder with a private mode."""
    done = run("host", "token", "add", "phone", ASR_EDGE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0
    assert (tmp_path / "home" / "host" / "host.sqlite").is_file()
    assert accessible_to_others(tmp_path / "home") == []
