"""A host behind a bad network, on a folder that stalls, and with its cluster on another machine."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.remote.jobs import pack_job
from device_app.remote.trusted_hosts import Host, save_host
from editing.task_vector import Origin
from export.bundle import Bundle
from tests.conftest import until
from tests.hostile.machines import Machine, attend, free_port, norm_received, wait_for
from trainer.host.database import Database
from trainer.host.keys import signer

pytestmark = pytest.mark.slow


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


def trust(host, network):
    """Makes the keys of a host, which the device trusts from now on; returns the host's URL."""
    host.call("host", "init", network.address)
    token = host.call("host", "token", "add", "phone").stdout.strip()
    keys = signer(host.folder / "host")
    url = f"https://{network.address}:8443"
    save_host(Host(url, keys.public_key, keys.authority, token))
    return url


def pack(tiny, recording, url, epochs):
    """A job of the device for the host at a URL, with a recording eight times."""
    origin = Origin(tiny.family, tiny.weights_hash, "phone", utterances=8)
    training_set = TrainingSet(tiny, [recording] * 8, [], origin)
    return pack_job(training_set, AdaptationSettings("phone"), url, "tiny", {"epochs": epochs, "seed": 0})


@pytest.mark.parametrize("condition", ["slow", "lossy", "down"])
def test_a_job_over_a_bad_network_ends_once(network, tiny: Bundle, two_seconds, tmp_path, monkeypatch, condition):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "device"))
    host = Machine(tmp_path / "host", namespace=network.host)
    job = pack(tiny, two_seconds, trust(host, network), epochs=40)
    server = host.start("host", "serve", "--host", "0.0.0.0", "--port", "8443")
    try:
        if condition != "down":
            getattr(network, condition)()
        began = time.monotonic()
        device = attend(job, tmp_path / "device", network.device)
        for pause in (1.5, 3.0, 4.0) if condition == "down" else ():
            time.sleep(pause)
            network.down(4.0)
        assert norm_received(device, 280) > 0
        print(f"{condition}: {time.monotonic() - began:.0f} s")
        found = Database(host.folder / "host" / "host.sqlite").jobs()
    finally:
        server.kill()
        server.communicate()
    assert [one.state for one in found] == ["done"]


class Disk:
    """The disk of a folder. It can stall, as a shared folder does whose server is away: writes then wait for it."""

    def __init__(self, folder):
        self._folder = folder

    @contextlib.contextmanager
    def stalling(self):
        subprocess.run(["fsfreeze", "--freeze", self._folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", self._folder], check=True)


@pytest.fixture
def disk(tmp_path):
    """A disk of its own for the host's data folder."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "mount", "fsfreeze"))):
        pytest.skip("a disk that stalls needs root, mkfs.ext4 and fsfreeze")
    folder, image = tmp_path / "host", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_job_ends_once_though_the_folder_of_the_host_stalls(
    disk, host, tiny: Bundle, two_seconds, tmp_path, monkeypatch
):
    """While the folder stalls, monitoring still gets answers, and nothing is lost."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "device"))
    host.call("host", "init", "localhost")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    save_host(Host(url, signer(host.folder / "host").public_key))
    job = pack(tiny, two_seconds, url, epochs=40)
    server = host.start("host", "serve", "--no-tls", "--port", port)
    try:
        wait_for(url)
        device = attend(job, tmp_path / "device")
        for pause in (1.5, 5.0, 5.0):  # in the upload, at the start of the worker, and in the training
            time.sleep(pause)
            with disk.stalling():
                time.sleep(5.0)
                answers = [httpx.get(f"{url}/v1/health", trust_env=False, timeout=20) for _ in range(3)]
            assert all(answer.status_code in (200, 503) for answer in answers)
        assert norm_received(device) > 0
        found = Database(host.folder / "host" / "host.sqlite").jobs()
    finally:
        server.kill()
        server.communicate()
    assert [one.state for one in found] == ["done"]


class RayNode:
    """A node of a Ray cluster in a network of its own, with a folder of its own where Ray has that of all nodes."""

    def __init__(self, namespace, address, folder, home):
        folder.mkdir()
        usual = Path(tempfile.gettempdir(), "ray")
        usual.mkdir(exist_ok=True)
        bind = 'mount --bind "$0" "$1" && shift && exec "$@"'  # in the mount namespace of `ip netns exec`
        self._inside = ["ip", "netns", "exec", namespace, "sh", "-c", bind, folder, usual, sys.executable]
        self._address, self.log = address, folder / "log"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
        self._environment = {**os.environ, **token, "ASR_EDGE_HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}

    def start(self, *arguments):
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._inside, *map(str, arguments)], env=self._environment, stdout=log, stderr=log
            )

    @contextlib.contextmanager
    def joined(self, *options):
        """Starts the node, and stops it at the end."""
        options = ("--node-ip-address", self._address, *options, "--block", "--disable-usage-stats")
        node = self.start("-m", "ray.scripts.scripts", "start", *options)
        try:
            until(lambda: "Ray runtime started" in self.log.read_text(errors="replace"), 240.0)
            yield
        finally:
            node.terminate()  # ends all processes of the node
            node.wait(60)


def test_a_job_on_another_node_of_a_cluster_ends_once_though_the_link_fails(
    network, host, tiny: Bundle, two_seconds, tmp_path, monkeypatch
):
    """The host's own node has no processors. The link is down for less time than Ray waits for a node."""
    pytest.importorskip("ray")
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "device"))
    job = pack(tiny, two_seconds, trust(host, network), epochs=200)
    head = RayNode(network.host, network.address, tmp_path / "head", host.folder)
    worker = RayNode(network.device, "10.77.0.2", tmp_path / "worker", host.folder)
    cluster = f"{network.address}:6379"
    with (
        head.joined("--head", "--port", "6379", "--num-cpus", "0"),
        worker.joined("--address", cluster, "--num-cpus", "2"),
    ):
        serve = ("host", "serve", "--host", "0.0.0.0", "--port", "8443", "--engine", "ray", "--address", cluster)
        server = head.start("-c", "import sys; from device_app.cli import main; sys.exit(main())", *serve)
        try:
            until(lambda: "SHA256:" in head.log.read_text(errors="replace"), 240.0)  # it serves
            device = attend(job, tmp_path / "device", network.device)
            database = Database(host.folder / "host" / "host.sqlite")
            until(lambda: device.poll() is not None or "running" in {one.state for one in database.jobs()}, 240.0)
            for _ in range(3):
                network.down(4.0)
                time.sleep(3.0)
            assert norm_received(device) > 0
            found = database.jobs()
        finally:
            server.terminate()
            server.wait(60)
    assert [one.state for one in found] == ["done"]
