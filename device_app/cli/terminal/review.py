"""Functions shared by recording and labelling: play an utterance, edit its text, show its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal.keyboard import Keyboard
from device_app.data.utterance import MIN_CONFIDENCE
from editing.errors import BadInputError, MicrophoneError
from editing.printable import printable

if TYPE_CHECKING:
    from device_app.audio.samples import Samples
    from device_app.recognition.results import Word


def play(audio: Samples, keyboard: Keyboard) -> None:
    """Plays an utterance until its end or until a key is pressed; prints a message if it cannot be played."""
    from device_app.audio.playback import playing

    try:
        with playing(audio) as stream:
            while stream.active and keyboard.poll(0.05) is None:
                pass
    except MicrophoneError as error:
        options.tell(f"  {error}")


def edited(text: str, keyboard: Keyboard) -> str | None:
    """Lets the user edit a text until it is a valid label; returns None if they cancel."""
    from device_app.data.names import checked_label, is_permitted

    while (line := keyboard.edit(text)) is not None:
        try:
            return checked_label(line)
        except BadInputError as error:
            options.tell(f"  {error}")
            text = "".join(filter(is_permitted, line))
    return None


def show_words(words: Sequence[Word]) -> None:
    """Prints the recognised words; words with a low confidence are bold and followed by the confidence."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    line = Text("recognised: ")
    for word in words:
        is_sure = word.confidence >= MIN_CONFIDENCE
        line.append(printable(word.text), style="" if is_sure else "bold underline")
        line.append(" " if is_sure else f"({word.confidence:.0%}) ")
    text = line if words else Text("recognised: nothing")
    Console(stderr=True, highlight=False).print(Padding(text, (0, 0, 0, 2), expand=False))
