"""Live audio by WebSocket and Wyoming: exactly what `Transcriber.stream` gives for the same blocks."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from device_app.audio.samples import read
from device_app.paths import RECORDINGS
from device_app.recognition.writers import segment_record
from device_app.service.limits import Limits
from device_app.service.wyoming.connection import WyomingConnection
from tests.conftest import until
from tests.device_app.service.conftest import SPEECH, raw

BLOCK = 1600  # samples, 0.1 s


def pcm(path=SPEECH):
    return np.round(np.clip(read(path), -1, 32767 / 32768) * 32768).astype("<i2")


def blocks_of(samples, size=BLOCK):
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def streamed(transcriber, blocks, rate=16_000, partial_s=0.0):
    """The final segments of the transcriber's own stream."""
    stream = transcriber.stream(rate, partial_s=partial_s)
    updates = [update for block in blocks for update in stream.feed(block)] + stream.finish()
    return [segment_record(update.segment) for update in updates if update.is_final]


def converse(url, messages, query="", last='{"type": "finish"}'):
    """Sends blocks or other messages; returns all messages of the service."""
    with connect(f"{url.replace('http', 'ws')}/v1/audio/live{query}", open_timeout=20) as socket:
        with contextlib.suppress(ConnectionClosed):  # it may refuse before it has read all
            for message in messages:
                socket.send(message.tobytes() if isinstance(message, np.ndarray) else message)
            if last:
                socket.send(last)
        return rest(socket)


def rest(socket):
    """All messages until the service closes the connection."""
    found = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            found.append(json.loads(socket.recv(20)))
    return found


def finals(messages):
    return [{k: v for k, v in one.items() if k != "type"} for one in messages if one["type"] == "final"]


@pytest.mark.parametrize("size", [BLOCK, 333])
def test_the_websocket_gives_what_the_stream_gives(url, transcriber, size):
    blocks = blocks_of(pcm(), size)
    messages = converse(url, blocks)
    assert messages[0]["type"] == "ready"
    assert finals(messages) == streamed(transcriber, blocks, partial_s=0.5)
    assert messages[-1] == {"type": "done", "text": " ".join(one["text"] for one in finals(messages))}


@pytest.mark.parametrize("size", [1001, 3199])
def test_blocks_may_cut_samples_in_two(url, transcriber, size):
    sent = [*blocks_of(pcm().tobytes(), size), b"\0"]  # the last sample is not complete
    assert converse(url, sent, "?partials=0")[-1]["text"] == " ".join(
        one["text"] for one in streamed(transcriber, [pcm()])
    )


def test_partial_texts_come_before_the_final_one(url):
    kinds = [one["type"] for one in converse(url, blocks_of(pcm()))]
    assert "partial" in kinds[: kinds.index("final")]
    assert "partial" not in [one["type"] for one in converse(url, blocks_of(pcm()), "?partials=0")]


def test_another_sampling_rate_is_converted(url, transcriber):
    blocks = blocks_of(pcm()[::2].copy())
    assert finals(converse(url, blocks, "?sample_rate=8000&partials=0")) == streamed(transcriber, blocks, 8000)


def test_keyterms_and_the_model_are_chosen_in_the_address(url):
    blocks = blocks_of(pcm(RECORDINGS / "invalid.flac"))
    assert "that's not" in converse(url, blocks, "?prompt=that%27s%20not&partials=0")[-1]["text"]
    refused = converse(url, [], "?model=asr-edge:nobody")
    assert [one["type"] for one in refused] == ["error"]
    assert refused[0]["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("message", "query"),
    [("hello", ""), ('{"type": "start"}', ""), ("[" * 5000, ""), (b"", "?sample_rate=3")],
)
def test_what_is_not_of_the_protocol_ends_with_an_error(url, message, query):
    assert converse(url, [message], query)[-1]["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("query", "parameter", "message"),
    [
        ("sample_rate=fast", "sample_rate", "sample_rate: 'fast' is not a number"),
        ("sample_rate=nan", "sample_rate", "sample_rate is nan; expected a number from 1000 to 1000000"),
        ("sample_rate=500", "sample_rate", "sample_rate is 500; expected"),
        ("partials=-1", "partials", "partials is -1; expected a number from 0 to 60"),
        ("language=fr", "language", "language: 'fr' is not supported; the model writes 'en' only"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_a_client_can_read(url, query, parameter, message):
    with connect(f"{url.replace('http', 'ws')}/v1/audio/live?{query}") as socket:
        (refused,) = rest(socket)
        assert socket.close_code == 1008
    assert refused["type"] == "error"
    assert refused["error"]["param"] == parameter
    assert message in refused["error"]["message"]


def test_the_language_of_the_model_is_accepted(url):
    assert converse(url, [], "?language=en-GB")[-1]["type"] == "done"


def test_another_origin_cannot_open_a_websocket(url):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{url.replace('http', 'ws')}/v1/audio/live", origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_silence_without_audio_ends_the_connection(start):
    url, _ = start(Limits(idle_s=0.2))
    messages = converse(url, [], last=None)
    assert "no audio for 0.2 s" in messages[-1]["error"]["message"]


def test_there_is_a_limit_of_live_connections(start):
    url, _ = start(Limits(live=1))
    with connect(f"{url.replace('http', 'ws')}/v1/audio/live") as first:
        first.recv(20)
        refused = converse(url, [])
        assert refused[0]["error"]["code"] == "busy"
        assert refused[0]["retry_after_s"] > 0
    assert converse(url, [])[-1]["type"] == "done"


def test_stopping_ends_a_live_connection_with_its_text(start):
    url, state = start()
    with connect(f"{url.replace('http', 'ws')}/v1/audio/live?partials=0.1") as socket:
        for block in blocks_of(pcm()):
            socket.send(block.tobytes())
        while "not in service" not in json.loads(socket.recv(20)).get("text", ""):
            pass
        state.server.should_exit = True
        last = rest(socket)
    assert [one["type"] for one in last][-2:] == ["final", "done"]
    assert last[-1]["text"].startswith("The number you have dialed is not in service")


def test_stopping_answers_requests_that_take_too_long(start, tmp_path):
    """A plain one, a stream of events, and an upload that does not end."""
    url, state = start(Limits(shutdown_s=0.1))
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(read(RECORDINGS / "two_cities.flac"), 6), 16_000)

    def post(stream):
        with path.open("rb") as file:
            form = {"files": {"file": file}, "data": {"stream": stream}}
            return httpx.post(f"{url}/v1/audio/transcriptions", timeout=60, **form)

    def upload():
        head = "POST /v1/audio/transcriptions HTTP/1.1\nHost: localhost\nContent-Length: 1000\n"
        return raw(url, f"{head}Content-Type: multipart/form-data; boundary=x\n\n", [b"--x"])

    with ThreadPoolExecutor(3) as pool:
        plain, stream, slow = pool.submit(post, "false"), pool.submit(post, "true"), pool.submit(upload)
        until(lambda: state.turns.jobs == 2)
        state.server.should_exit = True
    assert plain.result().status_code == 503
    assert plain.result().headers["Retry-After"]
    assert plain.result().json()["error"]["code"] == "stopping"
    assert json.loads(stream.result().text.split("data: ")[-1])["error"]["code"] == "stopping"
    assert slow.result().startswith("HTTP/1.1 503")
    assert '"code":"stopping"' in slow.result()


def wyoming(address, events):
    """Sends events as Home Assistant does; returns what comes back until the connection or the transcript ends."""

    async def talk():
        async with AsyncTcpClient(*address.removeprefix("tcp://").split(":")) as client:
            for event in events:
                await client.write_event(event.event())
            found = []
            while (event := await asyncio.wait_for(client.read_event(), 20)) is not None:
                found.append(event)
                if event.type in (TranscriptStop().event().type, "info", "pong", "error"):
                    break
            return found

    return asyncio.run(talk())


def spoken(blocks, rate=16_000):
    chunks = [AudioChunk(rate=rate, width=2, channels=1, audio=block.tobytes()) for block in blocks]
    return [AudioStart(rate=rate, width=2, channels=1), *chunks, AudioStop()]


def test_wyoming_describes_the_models(service):
    (program,) = Info.from_event(wyoming(service.wyoming, [Describe()])[0]).asr
    assert [model.name for model in program.models] == ["asr-edge"]
    assert program.models[0].languages == ["en"]
    assert program.supports_transcript_streaming
    assert Pong.is_type(wyoming(service.wyoming, [Ping(text="x")])[0].type)


def test_wyoming_gives_what_the_stream_gives(service, transcriber):
    blocks = blocks_of(pcm(), 1024)
    events = wyoming(service.wyoming, [Transcribe(language="en"), *spoken(blocks)])
    expected = [one["text"] for one in streamed(transcriber, blocks)]
    assert TranscriptStart.is_type(events[0].type)
    chunks = [TranscriptChunk.from_event(one).text for one in events if TranscriptChunk.is_type(one.type)]
    assert [text.strip() for text in chunks] == expected
    assert Transcript.from_event(events[-2]).text == "".join(chunks) == " ".join(expected)


def test_wyoming_takes_terms_and_a_model(service):
    blocks = blocks_of(pcm(RECORDINGS / "invalid.flac"))
    events = wyoming(service.wyoming, [Transcribe(name="asr-edge", transcript_terms=["that's not"]), *spoken(blocks)])
    assert "that's not" in Transcript.from_event(events[-2]).text
    refused = wyoming(service.wyoming, [Transcribe(name="asr-edge:nobody"), *spoken(blocks * 20)])
    assert Error.from_event(refused[-1]).code == "model_not_found"
    refused = wyoming(service.wyoming, [Transcribe(language="fr"), *spoken(blocks[:1])])
    assert "the model writes 'en' only" in Error.from_event(refused[-1]).text


def test_wyoming_without_speech_has_an_empty_transcript(service):
    events = wyoming(service.wyoming, [Transcribe(), *spoken([np.zeros(BLOCK, "<i2")] * 10)])
    assert [Transcript.from_event(one).text for one in events if Transcript.is_type(one.type)] == [""]


def test_wyoming_answers_the_end_of_no_audio_in_full(service):
    events = wyoming(service.wyoming, [AudioStop()])
    assert [one.type for one in events] == ["transcript-start", "transcript", "transcript-stop"]


@pytest.mark.parametrize("values", [(8000, 2, 1), (16_000, 4, 1), (16_000, 2, 2)])
def test_wyoming_refuses_a_chunk_of_another_format_than_audio_start_said(service, values):
    rate, width, channels = values
    chunk = AudioChunk(rate=rate, width=width, channels=channels, audio=bytes(3200))
    events = wyoming(service.wyoming, [AudioStart(rate=16_000, width=2, channels=1), chunk])
    message = Error.from_event(events[-1]).text
    assert message.startswith(f"an audio-chunk has {rate} Hz, {width * 8} bits and {channels} channel(s)")
    assert "16000 Hz, 16 bits and 1 channel(s); send audio-start first" in message


def test_wyoming_says_which_audio_it_takes(service):
    message = Error.from_event(wyoming(service.wyoming, [AudioStart(rate=16_000, width=1, channels=1)])[-1]).text
    assert "has 8 bits a sample and 1 channel(s); expected samples of 16 or 32 bits (integers) and 1 to 8" in message


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_a_client_of_wyoming_that_leaves_is_no_error_in_the_log(caplog, error):
    class Left:
        def write(self, _data):
            pass

        writelines = write

        async def drain(self):
            raise error

    class Pings:
        async def readline(self):
            return b'{"type": "ping"}\n'

    async def unless_stopping(step):
        return await step

    state = SimpleNamespace(unless_stopping=unless_stopping, limits=Limits(), stopping=asyncio.Event())
    asyncio.run(WyomingConnection(state, "client", Pings(), Left()).serve())
    assert not caplog.records


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[1]\n",
        b'{"type": 3}\n',
        b'{"type": "audio-chunk"}\n',
        b'{"type": "audio-chunk", "payload_length": 9000000000}\n',
        b'{"type": "audio-chunk", "payload_length": -1}\n',
        b'{"type": "describe", "data_length": 1e99}\n',
        b'{"type": "audio-start", "data": {"rate": "x", "width": 2, "channels": 1}}\n',
        b'{"type": "audio-start", "data": {"rate": 16000, "width": 3, "channels": 1}}\n',
        b"{" * 200_000,
    ],
)
def test_what_is_not_wyoming_ends_with_an_error(service, line):
    async def send():
        reader, writer = await asyncio.open_connection(*service.wyoming.removeprefix("tcp://").split(":"))
        writer.write(line)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    with contextlib.suppress(ConnectionResetError):  # the service did not read the rest
        assert b'"error"' in asyncio.run(send())
