"""A person at the keyboard and a microphone without hardware, in the process of the tests."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.cli.terminal.keyboard import Keyboard

BLOCK = SAMPLE_RATE // 20


class Now(str):
    """A key that is pressed while the program works, not when it asks."""

    __slots__ = ()


class Line(str):
    """Text that is typed into an editable line, after the old text is removed."""

    __slots__ = ()


class Enter(Line):
    """The end of an editable line whose text is left as it is."""

    __slots__ = ()


class Person:
    """Presses the keys in order, each when the program waits for one.

    Attributes:
        keys: that are left.
    """

    def __init__(self, pipe: Any) -> None:
        self.keys: list[str] = []
        self._pipe = pipe
        self._poll, self._edit = Keyboard.poll, Keyboard.edit

    def poll(self, keyboard: Keyboard, wait_s: float | None = 0.0) -> str | None:
        is_next = bool(self.keys) and (wait_s is None) != isinstance(self.keys[0], Now)
        if is_next:
            self._pipe.send_text(self.keys.pop(0))
        else:
            assert wait_s is not None, "the program waits for a key that nobody presses"
        return self._poll(keyboard, wait_s)

    def edit(self, keyboard: Keyboard, text: str) -> str | None:
        line = self.keys.pop(0)
        assert isinstance(line, Line), line
        typed = line if line in ("\x03", "\x04") else f"\x15{line}\r"
        self._pipe.send_text("\r" if isinstance(line, Enter) else typed)
        return self._edit(keyboard, text)


class CtrlC:
    """Stands in for a block of samples; using it raises KeyboardInterrupt."""

    def __getattr__(self, name: str) -> Any:
        raise KeyboardInterrupt

    def __len__(self) -> int:
        raise KeyboardInterrupt

    def __array__(self, *_arguments: Any, **_more: Any) -> Any:
        raise KeyboardInterrupt


class SoundDevice:
    """The part of the module sounddevice that asr-edge uses; each stream yields the next of some recordings.

    Attributes:
        opened: what each stream was asked for.
        played: what was given to the loudspeakers.
        devices: as `query_devices` lists them.
    """

    class PortAudioError(Exception):
        """The exception that PortAudio raises."""

    def __init__(self, recordings: Sequence[Sequence[Any]]) -> None:
        self._recordings = list(recordings)
        self.opened: list[dict[str, Any]] = []
        self.played: list[Samples] = []
        self.default = SimpleNamespace(device=(0, 0))
        self.devices: list[dict[str, Any]] = [
            {"index": 0, "name": "desk", "max_input_channels": 1, "default_samplerate": float(SAMPLE_RATE)},
            {"index": 1, "name": "loudspeakers", "max_input_channels": 0, "default_samplerate": 48_000.0},
        ]
        self.overflows = False

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        if device not in (None, 0, "desk"):
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[0 if kind == "input" else 1]

    def check_input_settings(self, _device: Any, *, samplerate: float, **_more: Any) -> None:
        if samplerate > 48_000:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, *, callback: Any, **asked: Any) -> Any:  # noqa: N802
        self.opened.append(asked)
        blocks = self._recordings.pop(0) if self._recordings else []

        def start() -> None:
            for block in blocks:
                if isinstance(block, CtrlC):
                    callback.__self__._blocks.put(block)
                else:
                    callback(block[:, None], len(block), None, SimpleNamespace(input_overflow=self.overflows))

        return SimpleNamespace(start=start, close=lambda **_ignored: None)

    def play(self, audio: Samples, _rate: float) -> None:
        self.played.append(audio)

    def get_stream(self) -> Any:
        return SimpleNamespace(active=False)

    def stop(self) -> None:
        pass


def blocks(audio: Samples, silence_s: float = 3.0) -> list[Samples]:
    """A recording followed by silence, as from a microphone."""
    whole = np.concatenate([audio, np.zeros(round(silence_s * SAMPLE_RATE), np.float32)])
    return [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)]
