"""The CPU is shared fairly, the queue is bounded, and work ends when its client has left."""

import asyncio
import logging
import socket
import threading
import time

import pytest

from device_app.service.limits import Limits
from device_app.service.recordings import RecordingTranscription
from device_app.service.turns import BusyError, Turns
from tests.conftest import until
from tests.device_app.service.conftest import SPEECH


@pytest.fixture
def turns():
    made = Turns(threads=1, jobs=3, jobs_of_client=2)
    yield made
    made.close()


def test_clients_take_turns_however_many_steps_one_has(turns):
    done = []

    async def many(client, count):
        await asyncio.gather(*(turns.run(client, lambda: done.append(client)) for _ in range(count)))

    async def main():
        await asyncio.gather(many("a", 6), many("b", 2), many("c", 2))

    asyncio.run(main())
    assert done == ["a", "a", "b", "c", "b", "c", "a", "a", "a", "a"] or done[:7].count("a") <= 3


def test_jobs_are_bounded_in_total_and_for_each_client(turns):
    with turns.job("a"), turns.job("a"):
        with pytest.raises(BusyError) as caught, turns.job("a"):
            pass
        assert caught.value.is_of_client
        with turns.job("b"):
            with pytest.raises(BusyError) as caught, turns.job("c"):
                pass
            assert not caught.value.is_of_client
    assert turns.jobs == 0


def test_a_step_of_a_caller_that_has_gone_is_dropped_and_its_error_reaches_nobody(turns):
    ran, release = [], threading.Event()

    async def main():
        first = asyncio.ensure_future(turns.run("a", release.wait))
        second = asyncio.ensure_future(turns.run("b", lambda: ran.append("b")))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        await first
        with pytest.raises(ZeroDivisionError):
            await turns.run("a", lambda: 1 / 0)
        assert await turns.run("a", lambda: "fine") == "fine"

    asyncio.run(main())
    assert ran == []


def slow_steps(monkeypatch, began, seconds=0.05):
    def step(self):
        began.append(time.monotonic())
        time.sleep(seconds)
        return []

    monkeypatch.setattr(RecordingTranscription, "_step", step)


def posted(url):
    """A connection on which a whole recording has been sent."""
    host, port = url.removeprefix("http://").split(":")
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    body = head + SPEECH.read_bytes() + b"\r\n--x--\r\n"
    opened = socket.create_connection((host, int(port)), timeout=20)
    opened.sendall(
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
        + body
    )
    return opened


def test_work_ends_when_the_client_leaves(start, monkeypatch):
    began = []
    slow_steps(monkeypatch, began)  # it would never end
    url, state = start()
    opened = posted(url)
    until(lambda: len(began) > 2)
    assert state.turns.jobs == 1
    opened.close()
    until(lambda: state.turns.jobs == 0)
    done = len(began)
    time.sleep(0.3)
    assert len(began) <= done + 1


def test_a_client_that_leaves_during_its_upload_is_no_error(start, client, caplog):
    url, state = start()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as opened:
        opened.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
    until(lambda: 'status="499"' in state.metrics.text(0, 0).decode())
    assert client.get(f"{url}/health").json()["jobs"] == 0
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_at_the_limit_clients_are_asked_to_come_back(start, client, monkeypatch):
    began = []
    slow_steps(monkeypatch, began)
    url, state = start(Limits(jobs=1))
    opened = posted(url)
    until(lambda: state.turns.jobs == 1)
    answer = client.post(f"{url}/v1/audio/transcriptions", files={"file": b"x"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error"]["code"] == "busy"
    assert client.get(f"{url}/health").json()["jobs"] == 1  # the service answers meanwhile
    opened.close()
    until(lambda: state.turns.jobs == 0)
