"""The local service: latency, throughput, load, memory, and what it gives compared with the transcriber itself.

    python benchmarks/service.py [PART...] [--data DATA] [--runs 10] [--requests 20000]

Parts: latency, throughput, crowd, memory, identity, adapting; all by default. It starts `asr-edge serve` in a process
of its own, with the data folder of ASR_EDGE_HOME, and prints the load of the machine beside each part. `identity` reads
training lines of the development sets in DATA; `adapting` adapts a temporary copy on one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import connect
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

from device_app import Transcriber, my_model
from device_app.audio.samples import SAMPLE_RATE, encode, read
from device_app.audio.sources import Recording
from device_app.data.manifest import read_manifest
from device_app.evaluation.error_rates import english, error_rates
from device_app.paths import RECORDINGS
from device_app.recognition.onnx_session import available_cores
from device_app.recognition.recordings.batch import transcribe_all

COMMAND = RECORDINGS / "ss-noservice.flac"  # 4.9 s
BLOCK = 1600  # samples, 0.1 s
SETS = ("cv-us", "cv-canada", "telephone-prompts", "mandarin-adults")
Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Running:
    """A service in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    wyoming: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rss_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def service() -> Iterator[Running]:
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "device_app", "serve", "--port", str(ports[0]), "--wyoming-port", str(ports[1])]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    running = Running(process, *ports)
    try:
        for _ in range(300):
            try:
                httpx.get(f"{running.url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            sys.exit("the service did not start within 30 s")
        yield running
    finally:
        process.terminate()
        process.wait(60)


def pcm(path: Path) -> Pcm:
    return np.round(np.clip(read(path), -1, 32767 / 32768) * 32768).astype("<i2")


def blocks_of(samples: Pcm) -> list[Pcm]:
    return [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]


def by_http(running: Running, client: httpx.Client, data: bytes) -> httpx.Response:
    files = {"file": ("a.flac", data)}
    return client.post(f"{running.url}/v1/audio/transcriptions", files=files, timeout=300)


def by_websocket(running: Running, samples: Pcm, *, pause_s: float = 0.0) -> tuple[list[str], float]:
    """Final texts, and the seconds from the last audio to the last text."""
    texts: list[str] = []
    with connect(f"ws://127.0.0.1:{running.port}/v1/audio/live?partials=0") as opened:
        opened.recv()
        for block in blocks_of(samples):
            time.sleep(pause_s)
            opened.send(block.tobytes())
        opened.send('{"type": "finish"}')
        end = time.perf_counter()
        for message in map(json.loads, opened):
            if message["type"] == "final":
                texts.append(message["text"])
    return texts, time.perf_counter() - end


def by_wyoming(running: Running, samples: Pcm, *, pause_s: float = 0.0) -> tuple[str, float]:
    """The text, and the seconds from the last audio to it."""

    async def talk() -> tuple[str, float]:
        async with AsyncTcpClient("127.0.0.1", running.wyoming) as client:
            await client.write_event(Transcribe().event())
            await client.write_event(AudioStart(SAMPLE_RATE, 2, 1).event())
            for block in blocks_of(samples):
                await asyncio.sleep(pause_s)
                await client.write_event(AudioChunk(SAMPLE_RATE, 2, 1, block.tobytes()).event())
            await client.write_event(AudioStop().event())
            end = time.perf_counter()
            while (event := await client.read_event()) is not None:
                if Transcript.is_type(event.type):
                    return Transcript.from_event(event).text, time.perf_counter() - end
        raise RuntimeError("the connection was closed")

    return asyncio.run(talk())


def latency(running: Running, runs: int) -> dict[str, float]:
    """Median seconds from the last audio of a command to its text, by protocol; live audio comes at its own pace."""
    data, samples = COMMAND.read_bytes(), pcm(COMMAND)
    ending = np.concatenate([samples, np.zeros(SAMPLE_RATE // 2, np.int16)])
    live = {"": samples, ", 0.5 s of silence at its end": ending}
    found: dict[str, list[float]] = {}
    with httpx.Client() as client:
        by_http(running, client, data)
        for _ in range(runs):
            start = time.perf_counter()
            by_http(running, client, data).raise_for_status()
            found.setdefault("HTTP", []).append(time.perf_counter() - start)
            for end, audio in live.items():
                for protocol, send in (("WebSocket", by_websocket), ("Wyoming", by_wyoming)):
                    _, seconds = send(running, audio, pause_s=BLOCK / SAMPLE_RATE)
                    found.setdefault(f"{protocol}{end}", []).append(seconds)
    for name, seconds in found.items():
        print(f"  {name}: median {1000 * statistics.median(seconds):4.0f} ms, longest {1000 * max(seconds):4.0f} ms")
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def throughput(running: Running, runs: int) -> None:
    """Seconds of audio a second, of 8 clients and of one process that transcribes as many recordings."""
    count, data = 8 * runs, COMMAND.read_bytes()
    audio_s = count * len(read(COMMAND)) / SAMPLE_RATE
    transcriber = Transcriber(my_model(), threads=1)
    recordings = [Recording(COMMAND, str(COMMAND), Path(str(number))) for number in range(count)]

    def alone() -> None:
        list(transcribe_all(transcriber, recordings, available_cores()))

    def clients() -> None:
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(ask, runs) for _ in range(8)]:
                future.result()

    def ask(times: int) -> None:
        with httpx.Client() as client:
            for _ in range(times):
                by_http(running, client, data).raise_for_status()

    rates = {}
    for name, work in (("one process", alone), ("8 clients", clients)):
        start = time.perf_counter()
        work()
        rates[name] = audio_s / (time.perf_counter() - start)
        print(f"  {name:12} {rates[name]:5.1f} s of audio a second")
    print(f"  8 clients reach {rates['8 clients'] / rates['one process']:.2f} of one process, without an error")


def crowd(running: Running) -> None:
    """100 clients at the same moment."""
    data, outcomes = COMMAND.read_bytes(), Counter[str]()
    together = threading.Barrier(100)

    def ask() -> None:
        with httpx.Client() as client:
            together.wait()
            response = by_http(running, client, data)
            retry = response.headers.get("Retry-After")
            outcomes[f"{response.status_code}{' with Retry-After' if retry else ''}"] += 1

    with ThreadPoolExecutor(100) as pool:
        for future in [pool.submit(ask) for _ in range(100)]:
            future.result()
    print("  " + ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.items()))


def memory(running: Running, requests: int) -> None:
    """The memory of the service during many short requests, by 4 clients."""
    data = encode(np.zeros(SAMPLE_RATE // 5, np.float32))
    left = iter(range(requests))
    lock = threading.Lock()
    readings: list[str] = []
    start = time.perf_counter()

    def ask() -> None:
        with httpx.Client() as client:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                if number % max(1, requests // 10) == 0:
                    readings.append(f"{running.rss_mb():.0f}")
                by_http(running, client, data).raise_for_status()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(ask) for _ in range(4)]:
            future.result()
    readings.append(f"{running.rss_mb():.0f}")
    print(f"  {requests} requests of 0.2 s of silence in {time.perf_counter() - start:.0f} s; MB: {' '.join(readings)}")


def identity(running: Running, data: Path, each: int = 15) -> None:
    """Whether WebSocket and Wyoming give the texts of `Transcriber.stream`; and the WER of live audio and of files.

    Args:
        running: the service.
        data: the folder of the development sets.
        each: recordings of each of `SETS`.
    """
    transcriber = Transcriber(my_model(), threads=available_cores())
    references, live, files, differing = [], [], [], 0
    for name in SETS:
        lines = [one for one in read_manifest(data / name / "manifest.jsonl") if one.split == "train" and one.text]
        for one in lines[:each]:
            samples = pcm(one.file)
            stream = transcriber.stream(partial_s=0)
            updates = [update for block in blocks_of(samples) for update in stream.feed(block)] + stream.finish()
            texts = [update.segment.text for update in updates if update.is_final]
            differing += by_websocket(running, samples)[0] != texts
            differing += by_wyoming(running, samples)[0] != " ".join(texts)
            references.append(one.text or "")
            live.append(" ".join(texts))
            files.append(transcriber.transcribe(samples, SAMPLE_RATE).text)
    rates = [error_rates(references, texts, english).wer for texts in (live, files)]
    print(f"  {2 * len(live)} live transcripts, {differing} differ from Transcriber.stream")
    print(f"  WER {100 * rates[0]:.1f} % live, {100 * rates[1]:.1f} % as files")


def adapting(running: Running, data: Path, runs: int) -> None:
    """The latency while `asr-edge adapt` trains on this machine."""
    before = latency(running, runs)
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ASR_EDGE_HOME": home}
        program = [sys.executable, "-m", "device_app"]
        manifest = data / "digits-jackson" / "manifest.jsonl"
        subprocess.run([*program, "import", str(manifest), "--domain", "digits"], env=environment, check=True)
        log = Path(home) / "log"
        with log.open("wb") as out:
            command = [*program, "adapt", "--domain", "digits"]
            training = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            while b"Fine-tuning" not in log.read_bytes():
                if training.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.2)
            time.sleep(5)
            print("  while it adapts:")
            during = latency(running, runs)
            print(f"  the adaptation {'still runs' if training.poll() is None else 'had ended before the measurement'}")
        finally:
            training.terminate()
            training.wait(60)
    for name, seconds in during.items():
        print(f"  {name}: {seconds / before[name]:.1f} times as long")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    parts: dict[str, Callable[[Running], object]] = {
        "latency": lambda one: latency(one, options.runs),
        "throughput": lambda one: throughput(one, options.runs),
        "crowd": crowd,
        "memory": lambda one: memory(one, options.requests),
        "identity": lambda one: identity(one, options.data),
        "adapting": lambda one: adapting(one, options.data, options.runs),
    }
    chosen: Sequence[str] = options.parts or list(parts)
    with service() as running:
        for name in chosen:
            print(f"{name} (load {os.getloadavg()[0]:.1f}, {available_cores()} cores)", flush=True)
            parts[name](running)


if __name__ == "__main__":
    main()
