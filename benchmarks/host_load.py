"""The load of many devices and of one large dataset on a host: accepted jobs, retries and memory.

    python benchmarks/host_load.py

Starts a host (plain HTTP on loopback, with an executor that starts no jobs, so that only the host is
measured), lets 200 devices submit and upload at the same time, and then uploads 1 GB. Reports accepted
and queued jobs, responses that asked for a retry, and the host's memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import httpx2 as httpx
import psutil

SERVER = """
import sys
from trainer.executors import LocalExecutor
from trainer.host.limits import Limits
from trainer.host.server import Address, open_signer, serve
class Idle(LocalExecutor):
    slots = 0
address = Address(port=int(sys.argv[1]), tls=False)
serve(address, open_signer(address), Idle(), Limits(), keep=False)
"""


def memory_mb(process: int) -> float:
    """The resident memory of a process."""
    return psutil.Process(process).memory_info().rss / 1e6


def request(data_sha: str, size: int) -> dict[str, object]:
    dataset = {"sha256": data_sha, "bytes": size}
    return {"key": secrets.token_hex(16), "base": "a" * 64, "edits": [], "dataset": dataset, "settings": {}}


def submit(url: str, token: str, data: bytes, failures: Counter[int], done: list[str]) -> None:
    """Submits a job like a device, and retries as the host asks. Counts failed requests by status code, 0 for none."""
    job_request = request(hashlib.sha256(data).hexdigest(), len(data))
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0) as client:
        while True:
            try:
                answer = client.post("/v1/jobs", json=job_request)
                if answer.is_success:
                    job = answer.json()
                    answer = client.patch(
                        f"/v1/jobs/{job['id']}/dataset",
                        content=data[job["received"] :],
                        headers={"Upload-Offset": str(job["received"])},
                    )
                    if answer.is_success and answer.json()["state"] == "queued":
                        done.append(job["id"])
                        return
                failures[answer.status_code] += 1
                time.sleep(float(answer.headers.get("Retry-After", "1")))
            except httpx.TransportError:
                failures[0] += 1
                time.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--kb", type=int, default=200, help="the size of each device's dataset")
    parser.add_argument("--large-mb", type=int, default=1000)
    parser.add_argument("--port", type=int, default=8471)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["ASR_EDGE_HOME"] = home
        from trainer.host.server import open_database

        database = open_database()
        tokens = [database.add_device(f"device-{number}") for number in range(options.devices + 1)]
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(options.port)])
        url = f"http://127.0.0.1:{options.port}"
        try:
            while True:
                try:
                    httpx.get(f"{url}/v1/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            before = memory_mb(server.pid)
            failures: Counter[int] = Counter()
            done: list[str] = []
            peak = [before]
            watching = threading.Event()

            def watch() -> None:
                while not watching.wait(0.05):
                    peak[0] = max(peak[0], memory_mb(server.pid))

            threading.Thread(target=watch, daemon=True).start()
            began = time.monotonic()
            threads = [
                threading.Thread(target=submit, args=(url, token, os.urandom(options.kb * 1000), failures, done))
                for token in tokens[1:]
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            many_s, many_mb = time.monotonic() - began, peak[0] - before
            peak[0] = start = memory_mb(server.pid)
            large_s = upload_large(url, tokens[0], options.large_mb << 20)
            watching.set()
            record = {
                "devices": options.devices,
                "accepted": len(done),
                "jobs": database.count("queued"),
                "failed_requests": dict(failures),
                "seconds": round(many_s, 1),
                "memory_mb": round(before, 1),
                "more_with_all_devices_mb": round(many_mb, 1),
                "large_mb": options.large_mb,
                "large_s": round(large_s, 1),
                "more_with_large_mb": round(peak[0] - start, 1),
            }
            print(json.dumps(record, indent=2))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


def upload_large(url: str, token: str, size: int) -> float:
    """Seconds for uploading one dataset of `size` bytes."""
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(block)
    began = time.monotonic()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=300.0) as client:
        job = client.post("/v1/jobs", json=request(digest.hexdigest(), size)).json()
        answer = client.patch(
            f"/v1/jobs/{job['id']}/dataset",
            content=(block for _ in range(size >> 20)),
            headers={"Upload-Offset": "0"},
        )
        answer.raise_for_status()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
