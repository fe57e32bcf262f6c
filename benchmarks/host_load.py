"""The load of many devices, of one large dataset, and of a full disk on a host: jobs, retries, response times, memory.

    python benchmarks/host_load.py
    python benchmarks/host_load.py --disk-mb 6 --idle 1030 --kb 50     # needs root, for a tmpfs

Starts a host with an executor that starts no jobs, so that only the host is measured, and lets 200 devices submit and
upload at the same time. Reports accepted and queued jobs, responses that asked for a retry, and the host's memory.

Without --disk-mb, the host serves plain HTTP, and a dataset of 1 GB follows.

With --disk-mb, the host serves TLS and its folder is a tmpfs of that size, too small for all datasets. A device whose
job was accepted cancels it after some seconds, which frees space for the others; before that, the file on the host must
be what it sent. All the while, other addresses hold --idle TLS connections without a request and open again what the
host ends, and a client of its own asks /v1/health on a new connection, ten times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import secrets
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import psutil

from device_app.remote.tls import AUTHORITY

if TYPE_CHECKING:
    from trainer.host.database import Database

SERVER = """
import sys
from trainer.executors import LocalExecutor
from trainer.host.limits import Limits
from trainer.host.server import Address, open_signer, serve
class Idle(LocalExecutor):
    slots = 0
address = Address(port=int(sys.argv[1]), tls=sys.argv[2] == "tls")
serve(address, open_signer(address), Idle(), Limits(), keep=False)
"""
HELD_S = 3.0  # how long an accepted job stays, with --disk-mb
IDLE_ADDRESSES = 5  # that the idle connections come from; each may have 256
HEALTH_EVERY_S = 0.1
spawning = multiprocessing.get_context("spawn")  # clients of their own processes: threads would wait for each other


@dataclass
class Host:
    """A running host.

    Attributes:
        url: its address.
        process: its process id.
        folder: the host's folder.
        tls: its certificate authority, if it serves TLS.
        peak_mb: the largest resident memory since `watch` was entered.
    """

    url: str
    process: int
    folder: Path
    tls: ssl.SSLContext | None
    peak_mb: float = 0.0

    def memory_mb(self) -> float:
        """The resident memory of the host's process."""
        return float(psutil.Process(self.process).memory_info().rss / 1e6)

    def cpu_s(self) -> float:
        """The CPU time of the host's process so far."""
        times = psutil.Process(self.process).cpu_times()
        return float(times.user + times.system)

    def client(self, token: str, timeout: float = 60.0) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, verify=self.tls or True)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Measures the memory 20 times a second."""
        self.peak_mb = self.memory_mb()
        done = threading.Event()

        def measure() -> None:
            while not done.wait(0.05):
                self.peak_mb = max(self.peak_mb, self.memory_mb())

        thread = threading.Thread(target=measure)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextlib.contextmanager
def running(home: Path, port: int, *, tls: bool) -> Iterator[Host]:
    """Starts a host with this data folder."""
    from trainer.host.keys import make_keys

    folder = home / "host"
    if tls:
        make_keys(folder, ["localhost", "127.0.0.1"])
    context = ssl.create_default_context(cafile=str(folder / AUTHORITY)) if tls else None
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), "tls" if tls else "plain"], stderr=subprocess.DEVNULL
    )
    host = Host(f"{'https' if tls else 'http'}://127.0.0.1:{port}", process.pid, folder, context)
    try:
        while process.poll() is None:
            try:
                httpx.get(f"{host.url}/v1/health", verify=context or True).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        else:
            sys.exit(f"the host ended with exit code {process.returncode}; perhaps port {port} is in use")
        yield host
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextlib.contextmanager
def disk(size_mb: int | None) -> Iterator[Path]:
    """A data folder; with a size, on a tmpfs of its own."""
    with tempfile.TemporaryDirectory() as name:
        if size_mb is None:
            yield Path(name)
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def request(data_sha: str, size: int) -> dict[str, object]:
    dataset = {"sha256": data_sha, "bytes": size}
    return {"key": secrets.token_hex(16), "base": "a" * 64, "edits": [], "dataset": dataset, "settings": {}}


@dataclass
class Devices:
    """What became of the devices' requests.

    Attributes:
        host: to which they submit.
        kb: the size of each dataset.
        hold_s: cancels an accepted job after this time; None keeps it.
        accepted: ids of accepted jobs.
        damaged: those whose file on the host was not what the device sent.
        failures: failed requests by status code, 0 for none.
    """

    host: Host
    kb: int
    hold_s: float | None = None
    accepted: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)

    def submit(self, token: str) -> None:
        """Submits a job like a device, and retries as the host asks, but at most 5 s later."""
        data = os.urandom(self.kb * 1000)
        job_request = request(hashlib.sha256(data).hexdigest(), len(data))
        with self.host.client(token) as client:
            while True:
                try:
                    response = client.post("/v1/jobs", json=job_request)
                    if response.is_success:
                        job = response.json()
                        response = client.patch(
                            f"/v1/jobs/{job['id']}/dataset",
                            content=data[job["received"] :],
                            headers={"Upload-Offset": str(job["received"])},
                        )
                        if response.is_success and response.json()["state"] == "queued":
                            self.accepted.append(job["id"])
                            self._end(client, job["id"], data)
                            return
                    self.failures[response.status_code] += 1
                    time.sleep(min(5.0, float(response.headers.get("Retry-After", "1"))))
                except httpx.TransportError:
                    self.failures[0] += 1
                    time.sleep(1)

    def _end(self, client: httpx.Client, job: str, data: bytes) -> None:
        if self.hold_s is None:
            return
        time.sleep(self.hold_s)
        files = [path for path in (self.host.folder / "jobs" / job).iterdir() if path.name == "dataset.tar"]
        if [path.read_bytes() for path in files] != [data]:
            self.damaged.append(job)
        while True:
            with contextlib.suppress(httpx.TransportError):  # the connection was replaced; the job may be cancelled
                if client.delete(f"/v1/jobs/{job}").is_success:
                    return
            time.sleep(1)

    def run(self, tokens: list[str]) -> float:
        """All at the same moment; returns the seconds until the last has ended."""
        began = time.monotonic()
        threads = [threading.Thread(target=self.submit, args=(token,)) for token in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began


def ask_health(url: str, process: int, authority: str, source: str, done: Any, found: Any) -> None:
    """Asks /v1/health on a new connection each time until `done`.

    Puts, of each request, the seconds, the CPU seconds of the host meanwhile, and the status code, 0 for none. The CPU
    seconds are what the request would take on a machine without other load.
    """
    context = ssl.create_default_context(cafile=authority)
    host = Host(url, process, Path(), context)
    answers = []
    while not done.is_set():
        began, cpu = time.monotonic(), host.cpu_s()
        transport = httpx.HTTPTransport(verify=context, local_address=source)
        with httpx.Client(transport=transport, timeout=10.0) as client:
            try:
                status = client.get(f"{url}/v1/health").status_code
            except httpx.TransportError:
                status = 0
        answers.append((time.monotonic() - began, host.cpu_s() - cpu, status))
        time.sleep(HEALTH_EVERY_S)
    found.put(answers)


def hold_idle(port: int, authority: str, count: int, ready: Any, done: Any, found: Any) -> None:
    """Holds idle TLS connections from several addresses, and opens again what the host ends, until `done`."""
    context = ssl.create_default_context(cafile=authority)
    opened: dict[int, tuple[int, ssl.SSLSocket]] = {}
    total = 0
    watched = select.poll()

    def open_one(number: int) -> None:
        source = (f"127.0.1.{1 + number % IDLE_ADDRESSES}", 0)
        plain = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=source)
        connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
        connection.setblocking(False)
        opened[connection.fileno()] = (number, connection)
        watched.register(connection, select.POLLIN | select.POLLHUP)

    def open_patiently(number: int) -> None:
        nonlocal total
        while not done.is_set():
            with contextlib.suppress(OSError):
                open_one(number)
                total += 1
                return

    for number in range(count):
        open_patiently(number)
    ready.set()
    while not done.is_set():
        for descriptor, _ in watched.poll(200):
            number, connection = opened[descriptor]
            try:
                connection.recv(4096)
            except ssl.SSLWantReadError:  # a session ticket
                continue
            except OSError:
                pass
            watched.unregister(descriptor)
            del opened[descriptor]
            connection.close()
            open_patiently(number)
    found.put((len(opened), total))


def under_pressure(options: argparse.Namespace, host: Host, database: Database, tokens: list[str]) -> dict[str, object]:
    """All devices, a full disk and idle connections at once."""
    authority = str(host.folder / AUTHORITY)
    ready, done = spawning.Event(), spawning.Event()
    health, idle = spawning.Queue(), spawning.Queue()
    before = host.memory_mb()
    clients = [
        spawning.Process(target=ask_health, args=(host.url, host.process, authority, "127.0.2.1", done, health)),
        spawning.Process(target=hold_idle, args=(options.port, authority, options.idle, ready, done, idle)),
    ]
    with host.watch():
        for client in clients:
            client.start()
        ready.wait(300)
        with_idle = host.memory_mb()
        devices = Devices(host, options.kb, HELD_S)
        seconds = devices.run(tokens)
        done.set()
        answers, (held, opened) = health.get(), idle.get()
    for client in clients:
        client.join()
    times, cpu_times = sorted(one for one, _, _ in answers), sorted(one for _, one, _ in answers)
    return {
        "devices": len(tokens),
        "accepted": len(devices.accepted),
        "damaged": len(devices.damaged),
        "cancelled_jobs": database.count("cancelled"),
        "failed_requests": dict(devices.failures),
        "seconds": round(seconds, 1),
        "idle_connections_held": held,
        "idle_connections_opened": opened,
        "health_requests": len(answers),
        "health_not_answered": sum(status != 200 for _, _, status in answers),
        "health_s_median": round(times[len(times) // 2], 3),
        "health_s_99_percent": round(times[int(0.99 * len(times))], 3),
        "health_s_longest": round(times[-1], 3),
        "health_host_cpu_s_99_percent": round(cpu_times[int(0.99 * len(times))], 3),
        "health_host_cpu_s_longest": round(cpu_times[-1], 3),
        "host_cpu_s": round(host.cpu_s(), 1),
        "memory_mb": round(before, 1),
        "more_with_idle_connections_mb": round(with_idle - before, 1),
        "more_at_the_peak_mb": round(host.peak_mb - before, 1),
        "other_load": os.getloadavg()[0],
    }


def many_and_large(options: argparse.Namespace, host: Host, database: Database, tokens: list[str]) -> dict[str, object]:
    """All devices, and then one large dataset."""
    before = host.memory_mb()
    devices = Devices(host, options.kb)
    with host.watch():
        many_s = devices.run(tokens[1:])
    many_mb, start = host.peak_mb - before, host.memory_mb()
    with host.watch():
        large_s = upload_large(host, tokens[0], options.large_mb << 20)
    return {
        "devices": options.devices,
        "accepted": len(devices.accepted),
        "jobs": database.count("queued"),
        "failed_requests": dict(devices.failures),
        "seconds": round(many_s, 1),
        "memory_mb": round(before, 1),
        "more_with_all_devices_mb": round(many_mb, 1),
        "large_mb": options.large_mb,
        "large_s": round(large_s, 1),
        "more_with_large_mb": round(host.peak_mb - start, 1),
    }


def upload_large(host: Host, token: str, size: int) -> float:
    """Seconds for uploading one dataset of `size` bytes."""
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(block)
    began = time.monotonic()
    with host.client(token, timeout=300.0) as client:
        job = client.post("/v1/jobs", json=request(digest.hexdigest(), size)).json()
        response = client.patch(
            f"/v1/jobs/{job['id']}/dataset",
            content=(block for _ in range(size >> 20)),
            headers={"Upload-Offset": "0"},
        )
        response.raise_for_status()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--kb", type=int, default=200, help="the size of each device's dataset")
    parser.add_argument("--large-mb", type=int, default=1000)
    parser.add_argument("--disk-mb", type=int, help="the size of the host's disk")
    parser.add_argument("--idle", type=int, default=1030, help="idle TLS connections, with --disk-mb")
    parser.add_argument("--port", type=int, default=8471)
    options = parser.parse_args()
    with disk(options.disk_mb) as home:
        os.environ["ASR_EDGE_HOME"] = str(home)
        from trainer.host.server import open_database

        database = open_database()
        is_pressed = options.disk_mb is not None
        tokens = [database.add_device(f"device-{number}") for number in range(options.devices + (not is_pressed))]
        with running(home, options.port, tls=is_pressed) as host:
            measure = under_pressure if is_pressed else many_and_large
            print(json.dumps(measure(options, host, database, tokens), indent=2))


if __name__ == "__main__":
    main()
