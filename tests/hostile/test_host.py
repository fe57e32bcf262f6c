"""A device and a host as two processes, over TLS, and with repeated kill -9 of both."""

import json
import os
import random
import shutil
import signal
import time

import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.remote.jobs import jobs, pack_job
from device_app.remote.trusted_hosts import Host, save_host
from editing.task_vector import Origin
from export.bundle import Bundle
from tests.conftest import until
from tests.hostile.machines import Machine, attend, free_port, norm_received, wait_for
from trainer.host.database import Database
from trainer.host.keys import signer

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ASR_EDGE_KILLS", "50"))  # of the host, and as many of the device


def test_fine_tuning_on_a_host_over_tls_gives_the_wer_of_local_fine_tuning(host, transcriber, home, codes, tmp_path):
    fingerprint = host.call("host", "init", "localhost").stdout.strip()
    token = host.call("host", "token", "add", "phone", "--group", "crew").stdout.strip()
    port = free_port()
    url = f"https://localhost:{port}"
    server = host.start("host", "serve", "--host", "0.0.0.0", "--port", port)
    try:
        wait_for(url, verify=False)
        device, local = Machine(tmp_path / "device", torch=False), Machine(tmp_path / "local")
        for machine in (device, local):
            shutil.copytree(home / "baked", machine.folder / "baked")
            machine.call("import", codes, "--domain", "codes")
        assert "pip install" in device.call("adapt", "--domain", "codes", code=1).stderr
        assert "not trusted" in device.call("adapt", "--domain", "codes", "--on", url, code=1).stderr
        wrong = device.call("host", "trust", url, "--token", token, "--fingerprint", "SHA256:wrong", code=1)
        assert fingerprint in wrong.stderr
        assert "token" in device.call("host", "trust", url, "--fingerprint", fingerprint, code=1).stderr
        device.call("host", "trust", url, "--token", token, "--fingerprint", fingerprint)
        refused = device.call("adapt", "--domain", "codes", "--on", url, "--epochs", 6, code=1, stdin="n\n")
        assert "Do you agree?" in refused.stderr
        assert json.loads(device.call("jobs", "--json").stdout) == []
        adapt = ("adapt", "--domain", "codes", "--epochs", 6, "--tolerance", 5, "--json")
        remote_report = json.loads(device.call(*adapt, "--on", url, "--yes").stdout)
        local_report = json.loads(local.call(*adapt).stdout)
        assert remote_report["promoted"]
        assert local_report["promoted"]
        remote_wer, local_wer = (report["domains"]["codes"]["after"] for report in (remote_report, local_report))
        assert remote_wer == pytest.approx(local_wer, abs=0.02)
        assert "codes" in device.call("log").stdout
        assert not list((host.folder / "host" / "jobs").glob("*/*"))  # neither recordings nor the vector are left
        # Starts from the edited model, whose edits are sent too. The device is killed while it waits.
        again = ("adapt", "--domain", "codes", "--on", url, "--epochs", 3, "--force", "--json")
        waiting = device.start(*again)
        listed = until(
            lambda: [one for one in json.loads(device.call("jobs", "--json").stdout) if "place" in one], 120.0
        )
        waiting.kill()
        waiting.communicate()
        assert "jobs attach" in device.call(*again, code=1).stderr
        second = json.loads(device.call("jobs", "attach", listed[0]["id"][:8], "--json").stdout)
        assert (second["edit"]["id"], second["promoted"]) == (2, True)
        assert json.loads(device.call("jobs", "--json").stdout) == []
        for name in ("van-1", "van-2", "van-3"):  # three devices with the same vector
            token = host.call("host", "token", "add", name, "--group", "vans").stdout.strip()
            device.call("host", "trust", url, "--token", token)
            device.call("contribute", 1, "--group", "vans", "--on", url)
        merge = ("host", "fleet", "merge", "--group", "vans", "--tolerance", 5)
        assert "a copy of van-1's" in host.call(*merge, code=1).stderr
        report = json.loads(host.call(*merge, "--min-devices", 1, "--json").stdout)
        assert [one["copy_of"] for one in report["judged"]] == ["", "van-1", "van-1"]
        fresh = Machine(tmp_path / "fresh", torch=False)
        shutil.copytree(home / "baked", fresh.folder / "baked")
        fresh.call("import", codes, "--domain", "codes")
        fresh.call("host", "trust", url, "--token", token, "--fingerprint", fingerprint)
        pulled = json.loads(
            fresh.call("fleet", "pull", "--group", "vans", "--on", url, "--tolerance", 5, "--json").stdout
        )
        assert (pulled["promoted"], pulled["edit"]["kind"]) == (True, "fleet")
        assert "needs at least 5" in host.call("host", "fleet", "merge", "--group", "crew", code=1).stderr
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_kill_9_of_host_and_device_at_random_moments_ends_every_job_once(
    host, tiny: Bundle, two_seconds, tmp_path, monkeypatch
):
    """Kills only cost time: each job ends once, successfully, with one vector, which its device receives."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "device"))
    host.call("host", "init", "localhost")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    save_host(Host(url, signer(host.folder / "host").public_key))
    origin = Origin(tiny.family, tiny.weights_hash, "phone", utterances=1)
    rng = random.Random(0)
    norms = {}

    def serve():
        return host.start("host", "serve", "--no-tls", "--port", port)

    server = serve()
    try:
        for number in range(KILLS):
            settings = {"epochs": 2, "seed": number}
            training_set = TrainingSet(tiny, [two_seconds], [], origin)
            job = pack_job(training_set, AdaptationSettings(f"domain-{number}"), url, "tiny", settings)
            device = attend(job, tmp_path / "device")
            for process in rng.sample(["host", "device"], 2):
                time.sleep(rng.uniform(0, 3))
                if process == "device":
                    device.send_signal(signal.SIGKILL)
                    device.communicate()
                    device = attend(job, tmp_path / "device")
                else:
                    server.send_signal(signal.SIGKILL)
                    server.communicate()
                    server = serve()
            norms[number] = norm_received(device)
        found = Database(host.folder / "host" / "host.sqlite").jobs()
    finally:
        server.kill()
        server.communicate()
    assert [job.state for job in found] == ["done"] * KILLS
    assert len({job.statement for job in found}) == KILLS
    assert all(norm > 0 for norm in norms.values())
    assert len(jobs()) == KILLS  # this test fetches vectors without merging them, so the jobs remain
