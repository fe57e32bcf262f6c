"""One Wyoming connection: any number of transcriptions, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from starlette.concurrency import run_in_threadpool
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong

from device_app.recognition.results import Update
from device_app.service.errors import ServiceError, as_service_error
from device_app.service.live.session import LiveSession
from device_app.service.models import NAME, Loaded
from device_app.service.parameters.keyterms import valid_terms
from device_app.service.parameters.languages import check_language
from device_app.service.state import ServiceState
from device_app.service.wyoming.events import read_event

ATTRIBUTION = Attribution(name="asr-edge", url="")
LINGER_S = 1.0  # in which what a client still sends after an error is read


@dataclass(frozen=True)
class AudioFormat:
    """What an event says about audio.

    Attributes:
        rate: the sample rate in Hz.
        width: bytes of a sample.
        channels: the number of channels, which are interleaved.
    """

    rate: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.width * 8} bits and {self.channels} channel(s)"


class WyomingConnection:
    """Answers the events of one client."""

    def __init__(
        self, state: ServiceState, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """
        Args:
            state: the state of the service.
            client: whose turns the recognition takes.
            reader, writer: the streams of the connection.
        """
        self._state, self._client = state, client
        self._reader, self._writer = reader, writer
        self._wanted = Transcribe()  # the parameters of the next transcription
        self._place = contextlib.ExitStack()  # of the transcription in progress
        self._session: LiveSession | None = None
        self._format: AudioFormat | None = None  # of its audio
        self._loaded: Loaded | None = None
        self._has_text = False  # whether a part of the transcript has been sent

    async def serve(self) -> None:
        """Answers until the client leaves, the service stops, or an error occurs, which is sent to the client."""
        try:
            while (event := await self._state.unless_stopping(self._next())) is not None:
                await self._answer(event)
            if self._session is not None and self._state.stopping.is_set():
                await self._finish()
        except ConnectionError:  # the client has left
            pass
        except Exception as error:
            await self._refuse(as_service_error(error))
        finally:
            self._place.close()

    async def _next(self) -> Event | None:
        """The next event; None at the end of the connection.

        Raises:
            ServiceError: nothing arrived for too long, or what arrived is not an event.
        """
        seconds = self._state.limits.idle_s
        try:
            async with asyncio.timeout(seconds):
                return await read_event(self._reader, self._state.limits.message_bytes)
        except TimeoutError:
            raise ServiceError(408, f"nothing was received for {seconds:g} s") from None

    async def _answer(self, event: Event) -> None:
        """Answers one event. Events of other types are ignored, as the protocol requires.

        Raises:
            ServiceError: an event lacks a field, or has one of another type.
        """
        try:
            if Describe.is_type(event.type):
                await self._write(await self._info())
            elif Ping.is_type(event.type):
                await self._write(Pong(text=Ping.from_event(event).text))
            elif Transcribe.is_type(event.type):
                self._wanted = Transcribe.from_event(event)
            elif AudioStart.is_type(event.type):
                start = AudioStart.from_event(event)
                await self._begin(AudioFormat(start.rate, start.width, start.channels))
            elif AudioChunk.is_type(event.type):
                await self._feed(AudioChunk.from_event(event))
            elif AudioStop.is_type(event.type):
                await self._finish()
        except (KeyError, TypeError, AttributeError) as error:
            raise ServiceError(400, f"the event {event.type[:30]!r} is not complete") from error

    async def _begin(self, audio: AudioFormat) -> None:
        """Begins a transcription; one in progress is dropped."""
        self._place.close()
        job = self._place.enter_context(self._state.live(self._client))
        self._loaded = await self._state.model(self._wanted.name or NAME)
        check_language(self._wanted.language or "", self._loaded.transcriber.language)
        expected = valid_terms([*(self._wanted.transcript_names or ()), *(self._wanted.transcript_terms or ())])
        transcriber = await self._state.transcriber(self._loaded, expected)
        self._session = LiveSession(
            transcriber, job, audio.rate, width=audio.width, channels=audio.channels, partial_s=0
        )
        self._format = audio
        self._has_text = False
        await self._write(TranscriptStart(language=self._language))

    async def _feed(self, chunk: AudioChunk) -> None:
        """
        Raises:
            ServiceError: the audio has another format than the transcription began with.
        """
        audio = AudioFormat(chunk.rate, chunk.width, chunk.channels)
        if self._session is None:
            await self._begin(audio)
        elif audio != self._format:
            raise ServiceError(
                400, f"an audio-chunk has {audio}, but the audio before it {self._format}; send audio-start first"
            )
        assert self._session is not None  # noqa: S101 - for mypy
        await self._show(await self._session.feed(chunk.audio or b""))

    async def _finish(self) -> None:
        """Sends the rest of the text, and the whole of it for clients that do not stream."""
        if self._session is None or self._loaded is None:
            await self._write(TranscriptStart(language=self._language))
            await self._write(Transcript(text="", language=self._language))
            await self._write(TranscriptStop())
            return
        await self._show(await self._session.finish())
        transcript = self._session.transcript()
        self._session = None
        self._place.close()
        await self._write(Transcript(text=transcript.text, language=self._language))
        await self._write(TranscriptStop())
        await self._state.count(self._loaded, transcript)
        self._wanted = Transcribe()

    async def _show(self, updates: Iterable[Update]) -> None:
        """Sends the final texts among the updates."""
        for update in updates:
            if update.is_final:
                await self._write(TranscriptChunk(text=f"{' ' if self._has_text else ''}{update.segment.text}"))
                self._has_text = True

    async def _refuse(self, error: ServiceError) -> None:
        code = error.code or str(error.status_code)
        with contextlib.suppress(OSError):  # the client has left; TimeoutError is a child of OSError
            await self._write(Error(text=str(error.detail), code=code))
            # Data that nobody reads would reset the connection, and the client might never see the error.
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(1 << 16):
                    pass

    async def _write(self, answer: Eventable) -> None:
        await async_write_event(answer.event(), self._writer)

    @property
    def _language(self) -> str | None:
        """The language of the model in use; None before there is one."""
        return None if self._loaded is None else self._loaded.transcriber.language

    async def _info(self) -> Info:
        languages = await run_in_threadpool(self._state.models.languages)
        models = [
            AsrModel(
                name=name,
                attribution=ATTRIBUTION,
                installed=True,
                description=name,
                version=version("asr-edge"),
                languages=[language],
            )
            for name, language in languages.items()
        ]
        program = AsrProgram(
            name="asr-edge",
            attribution=ATTRIBUTION,
            installed=True,
            description="Offline speech recognition that learns from its owner",
            version=version("asr-edge"),
            models=models,
            supports_transcript_streaming=True,
        )
        return Info(asr=[program])
