"""Whatever the umask, nobody but its owner can read what a host keeps of other people's recordings."""

import os
import subprocess

import pytest

from device_app.remote.client import HostClient
from device_app.remote.training import fetch, send
from trainer.executors import LocalExecutor


@pytest.fixture(params=[pytest.param(0o000, marks=pytest.mark.slow), 0o022], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder):
    done = subprocess.run(["find", folder, "-perm", "/077"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_job_from_its_upload_to_its_end(umask, serve, keys, packed, trusted, host_home, make_jobs, caller, tmp_path):
    seen = []

    class Watched(LocalExecutor):
        """Looks at the files while a worker, in a process of its own, is at work."""

        def start(self, task):
            running = super().start(task)
            seen.append([path.name for path in (host_home / "host" / "jobs").rglob("*")])
            return running

    url = serve(Watched())
    job = packed(url)
    assert open_to_others(host_home) == []
    with HostClient(trusted(url), lambda _message: None) as client:
        job = send(job, client, lambda _sent: None)
        looked = []

        def look(_state):
            looked.append(open_to_others(host_home))

        learnt = fetch(job, client, look)
        client.contribute("crew", learnt.vector.to_bytes())
    assert learnt.vector.norm > 0
    assert any("dataset.tar" in names for names in seen)
    assert looked
    assert all(found == [] for found in looked), looked
    assert {path.name for path in (host_home / "host").iterdir()} >= {"fleet", "host.sqlite", "jobs", "signing.pem"}
    assert open_to_others(host_home) == []


def test_the_folder_that_adding_a_token_makes(umask, run, tmp_path):
    """What once happened: only `host init` made the folder with the mode it needs."""
    done = run("host", "token", "add", "phone", ASR_EDGE_HOME=str(tmp_path / "home"))
    assert done.returncode == 0
    assert (tmp_path / "home" / "host" / "host.sqlite").is_file()
    assert open_to_others(tmp_path / "home") == []
