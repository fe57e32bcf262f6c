"""Audio from a microphone: PortAudio's thread puts blocks into a bounded queue, which the caller iterates over."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from device_app.audio.samples import Samples
from editing.errors import MicrophoneError

BLOCK_S = 0.05  # length of a block
QUEUE_S = 30.0  # if the recogniser is further behind, audio is lost and this is reported
DISCONNECTED_S = 3.0  # a device that gives no block for so long was disconnected; one that is muted gives zeros

INSTALL_PORTAUDIO = (
    "the PortAudio library is missing. Install it with 'sudo apt install libportaudio2' (Debian, Ubuntu, "
    "Raspberry Pi OS), 'sudo dnf install portaudio' (Fedora) or 'brew install portaudio' (macOS). "
    "Transcribing files works without it."
)


@dataclass(frozen=True)
class InputDevice:
    """A device that can record.

    Attributes:
        index: PortAudio's number of the device.
        name: PortAudio's name of the device.
        channels: the most that it records.
        sample_rate: its default, in Hz.
        is_default: it is the system's default for recording.
    """

    index: int
    name: str
    channels: int
    sample_rate: float
    is_default: bool


def input_devices() -> list[InputDevice]:
    """Every device that can record.

    Raises:
        MicrophoneError: PortAudio is not installed.
    """
    sounddevice = portaudio()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            index=device["index"],
            name=device["name"],
            channels=device["max_input_channels"],
            sample_rate=device["default_samplerate"],
            is_default=device["index"] == default,
        )
        for device in sounddevice.query_devices()
        if device["max_input_channels"] > 0
    ]


class Microphone:
    """Blocks of mono audio from a microphone, at the device's own rate.

        with Microphone() as microphone:
            for block in microphone:
                ...

    Attributes:
        name: PortAudio's name of the device.
        sample_rate: in Hz.
        lost: how many times audio was lost since it was opened, because the computer was too slow.
    """

    def __init__(self, device: str | None = None, sample_rate: float | None = None) -> None:
        """
        Args:
            device: its number, a part of its name, or None for the system's default.
            sample_rate: in Hz, by default the device's own.

        Raises:
            MicrophoneError: there is no such device, it is busy or cannot record at that rate, or
                PortAudio is not installed.
        """
        chosen = int(device) if device is not None and device.isdecimal() else device
        self._sounddevice = portaudio()
        self.lost = 0
        try:
            information = self._sounddevice.query_devices(chosen, "input")
            self.name: str = information["name"]
            self.sample_rate: float = sample_rate or information["default_samplerate"]
            self._blocks: queue.Queue[Samples] = queue.Queue(round(QUEUE_S / BLOCK_S))
            if sample_rate is not None:
                self._check_rate(chosen, sample_rate, information["default_samplerate"])
            self._stream = self._sounddevice.InputStream(
                device=chosen,
                samplerate=self.sample_rate,
                blocksize=round(self.sample_rate * BLOCK_S),
                channels=1,
                dtype="float32",
                callback=self._enqueue,
            )
        except ValueError as error:  # an unknown or ambiguous name; the text lists the candidates
            raise MicrophoneError(
                f"microphone {device!r}: {error}. 'asr-edge transcribe --list-devices' shows all."
            ) from error
        except self._sounddevice.PortAudioError as error:
            raise _unavailable(device, error) from error

    def _check_rate(self, device: int | str | None, sample_rate: float, default: float) -> None:
        try:
            self._sounddevice.check_input_settings(device, channels=1, dtype="float32", samplerate=sample_rate)
        except self._sounddevice.PortAudioError as error:
            raise MicrophoneError(
                f"microphone {self.name!r} cannot record at {sample_rate:g} Hz ({error}); "
                f"its own rate is {default:g} Hz"
            ) from error

    def __enter__(self) -> Self:
        """Starts recording.

        Raises:
            MicrophoneError: the device cannot be opened.
        """
        try:
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            self._stream.close()
            raise _unavailable(self.name, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close(ignore_errors=True)

    def __iter__(self) -> Iterator[Samples]:
        """Blocks, (samples,), until the caller stops.

        Raises:
            MicrophoneError: the device was disconnected.
        """
        while True:
            try:
                yield self._blocks.get(timeout=DISCONNECTED_S)
            except queue.Empty:
                raise MicrophoneError(
                    f"microphone {self.name!r}: no sound for {DISCONNECTED_S:g} s; was it unplugged?"
                ) from None

    def _enqueue(self, block: Any, _frames: int, _time: Any, status: Any) -> None:
        """PortAudio's callback, which runs in its thread and must not wait: copies the block and enqueues it."""
        try:
            self._blocks.put_nowait(np.array(block[:, 0]))
        except queue.Full:
            self.lost += 1
        else:
            self.lost += bool(status.input_overflow)


def _unavailable(device: str | None, error: Exception) -> MicrophoneError:
    if device is None and not input_devices():
        return MicrophoneError("no microphone was found; plug one in, or transcribe a file instead")
    name = "the default microphone" if device is None else f"microphone {device!r}"
    return MicrophoneError(f"{name} cannot be opened ({error}); is another program using it?")


def portaudio() -> Any:
    """The module sounddevice, imported on first use because importing it fails without the library PortAudio.

    Raises:
        MicrophoneError: PortAudio is not installed.
    """
    try:
        import sounddevice
    except OSError as error:  # what it raises where the library is not found
        raise MicrophoneError(INSTALL_PORTAUDIO) from error
    sounddevice._ffi_string = _valid_utf8
    return sounddevice


def _valid_utf8(text: Any) -> bytes:
    """A string of PortAudio as valid UTF-8, which sounddevice requires of names.

    A device name in another encoding, as ALSA's configuration may have, would else hide all devices.
    """
    import sounddevice

    found: bytes = sounddevice._ffi.string(text)
    return found.decode("utf-8", "replace").encode()
