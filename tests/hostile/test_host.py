"""A device and a host as two processes, over TLS, and with repeated kill -9 of both."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.audio.samples import encode, read
from device_app.data.utterance import Utterance
from device_app.paths import RECORDINGS
from device_app.remote.jobs import jobs, pack_job
from device_app.remote.trusted_hosts import Host, save_host
from editing.task_vector import Origin
from export.bundle import Bundle
from tests.conftest import until
from tests.device_app.test_imports import BLOCK, FORBIDDEN
from trainer.families import conformer_ctc
from trainer.host.database import Database
from trainer.host.keys import signer
from trainer.training.from_scratch import new_bundle

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ASR_EDGE_KILLS", "50"))  # of the host, and as many of the device


class Machine:
    """A data folder, and the command line on it; with a namespace, in a network of its own."""

    def __init__(self, folder, *, torch=True, namespace=None):
        self.folder, self.environment = folder, {**os.environ, "ASR_EDGE_HOME": str(folder), "TERM": "dumb"}
        block = "" if torch else BLOCK.format(forbidden=FORBIDDEN)
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._start = [
            *inside,
            sys.executable,
            "-c",
            block + "import sys; from device_app.cli import main; sys.exit(main())",
        ]

    def start(self, *arguments, **options):
        command = [*self._start, *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )

    def call(self, *arguments, code=0, stdin=""):
        command = [*self._start, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=1800, check=False, input=stdin
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def wait_for(url, seconds=60.0, **how):
    end = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{url}/v1/health", trust_env=False, **how).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < end, "the host did not start"
        time.sleep(0.1)


@pytest.fixture
def host(tmp_path):
    return Machine(tmp_path / "host")


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


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model whose fine-tuning takes seconds, installed on host and device."""
    from tests.conftest import TINY_TEXTS
    from tests.trainer.conftest import TINY

    monkeypatch.setitem(conformer_ctc.CONFIGS, "tiny", TINY)
    folder = tmp_path / "host" / "models" / "tiny"
    folder.parent.mkdir(parents=True)
    found = new_bundle(TINY_TEXTS, "tiny", folder)
    shutil.copytree(folder, tmp_path / "device" / "models" / "tiny")
    return found


@pytest.fixture
def two_seconds(tmp_path):
    """A training recording."""
    path = tmp_path / "one.flac"
    path.write_bytes(encode(read(RECORDINGS / "ss-noservice.flac")[: 2 * 16_000]))
    return Utterance(audio=path, text="zero one")


ATTEND = """
import sys
from device_app.remote.client import HostClient
from device_app.remote.trusted_hosts import find_host
from device_app.remote.jobs import find_job
from device_app.remote.training import fetch, send
job = find_job(sys.argv[1])
with HostClient(find_host(job.url)) as client:
    result = fetch(send(job, client, lambda _: None), client, lambda _: None)
print("norm", result.vector.norm)
"""


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
    environment = {**os.environ, "ASR_EDGE_HOME": str(tmp_path / "device")}
    norms = {}

    def serve():
        return host.start("host", "serve", "--no-tls", "--port", port)

    def attend(key):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", ATTEND, key], env=environment, **pipes)

    server = serve()
    try:
        for number in range(KILLS):
            settings = {"epochs": 2, "seed": number}
            training_set = TrainingSet(tiny, [two_seconds], [], origin)
            job = pack_job(training_set, AdaptationSettings(f"domain-{number}"), url, "tiny", settings)
            device = attend(job.key)
            for process in rng.sample(["host", "device"], 2):
                time.sleep(rng.uniform(0, 3))
                if process == "device":
                    device.send_signal(signal.SIGKILL)
                    device.communicate()
                    device = attend(job.key)
                else:
                    server.send_signal(signal.SIGKILL)
                    server.communicate()
                    server = serve()
            out, err = device.communicate(timeout=600)
            assert device.returncode == 0, (number, err)
            norms[number] = float(re.fullmatch(r"norm (.*)\n", out)[1])
        found = Database(host.folder / "host" / "host.sqlite").jobs()
    finally:
        server.kill()
        server.communicate()
    assert [job.state for job in found] == ["done"] * KILLS
    assert len({job.statement for job in found}) == KILLS
    assert all(norm > 0 for norm in norms.values())
    assert len(jobs()) == KILLS  # this test fetches vectors without merging them, so the jobs remain


@pytest.fixture
def network(tmp_path):
    """Two network namespaces, host and device, with a link between them. netem is not in every kernel, nftables is."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc", "nft"))):
        pytest.skip("network namespaces need root, iproute2 and nftables")
    names = [f"asr-edge-{side}-{os.getpid()}" for side in ("host", "device")]
    links = [f"ae{side}{os.getpid() % 100_000}" for side in "hd"]

    def run(*command):
        subprocess.run(command, check=True, capture_output=True)

    for name in names:
        run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", links[0], "netns", names[0], "type", "veth", "peer", links[1], "netns", names[1])
        for number, (name, link) in enumerate(zip(names, links, strict=True), 1):
            run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield Network(run, names, links)
    finally:
        for name in names:
            run("ip", "netns", "del", name)


class Network:
    """The link between a host and a device."""

    address = "10.77.0.1"  # of the host

    def __init__(self, run, names, links):
        self.host, self.device = names
        self._run, self._sides = run, list(zip(names, links, strict=True))

    def slow(self):
        for name, link in self._sides:
            limits = ("rate", "256kbit", "burst", "16kb", "latency", "400ms")
            self._run("tc", "-n", name, "qdisc", "add", "dev", link, "root", "tbf", *limits)

    def lossy(self):
        rules = (
            "add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "
            "add rule inet loss in numgen random mod 100 < 20 drop"
        )
        for name, _ in self._sides:
            self._run("ip", "netns", "exec", name, "nft", rules)

    def down(self, seconds):
        name, link = self._sides[0]
        self._run("ip", "-n", name, "link", "set", link, "down")
        time.sleep(seconds)
        self._run("ip", "-n", name, "link", "set", link, "up")


@pytest.mark.parametrize("condition", ["slow", "lossy", "down"])
def test_a_job_over_a_bad_network_ends_once(network, tiny: Bundle, two_seconds, tmp_path, monkeypatch, condition):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "device"))
    host = Machine(tmp_path / "host", namespace=network.host)
    device_home = {**os.environ, "ASR_EDGE_HOME": str(tmp_path / "device")}
    host.call("host", "init", network.address)
    token = host.call("host", "token", "add", "phone").stdout.strip()
    keys = signer(host.folder / "host")
    url = f"https://{network.address}:8443"
    save_host(Host(url, keys.public_key, keys.authority, token))
    origin = Origin(tiny.family, tiny.weights_hash, "phone", utterances=8)
    training_set = TrainingSet(tiny, [two_seconds] * 8, [], origin)
    job = pack_job(training_set, AdaptationSettings("phone"), url, "tiny", {"epochs": 40, "seed": 0})
    server = host.start("host", "serve", "--host", "0.0.0.0", "--port", "8443")
    try:
        if condition != "down":
            getattr(network, condition)()
        began = time.monotonic()
        inside = ["ip", "netns", "exec", network.device, sys.executable, "-c", ATTEND, job.key]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        device = subprocess.Popen(inside, env=device_home, **pipes)
        for pause in (1.5, 3.0, 4.0) if condition == "down" else ():
            time.sleep(pause)
            network.down(4.0)
        out, err = device.communicate(timeout=280)
        assert device.returncode == 0, err
        print(f"{condition}: {time.monotonic() - began:.0f} s")
        found = Database(host.folder / "host" / "host.sqlite").jobs()
    finally:
        server.kill()
        server.communicate()
    assert [one.state for one in found] == ["done"]
    assert float(re.fullmatch(r"norm (.*)\n", out)[1]) > 0
