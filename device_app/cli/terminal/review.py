"""What recording and labelling show of an utterance, and how it is heard again or its text changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal.keyboard import Keyboard
from editing.errors import BadInputError, MicrophoneError
from editing.printable import printable

if TYPE_CHECKING:
    from device_app.audio.samples import Samples
    from device_app.recognition.results import Word

SURE = 0.8  # a word that the recogniser is less sure of stands out


def play(audio: Samples, keyboard: Keyboard) -> None:
    """Plays an utterance until its end or any key; says so where it cannot."""
    from device_app.audio.playback import playing

    try:
        with playing(audio) as stream:
            while stream.active and keyboard.poll(0.05) is None:
                pass
    except MicrophoneError as error:
        options.tell(f"  {error}")


def edited(text: str, keyboard: Keyboard) -> str | None:
    """The text as a person leaves it, asked for again until it can be a label; None for no change."""
    from device_app.data.names import checked_text

    while (line := keyboard.edit(text)) is not None:
        try:
            return checked_text(line)
        except BadInputError as error:
            options.tell(f"  {error}")
            text = "".join(character for character in line if character.isprintable())
    return None


def show_words(words: Sequence[Word]) -> None:
    """Prints what was heard; words that the recogniser is not sure of are marked, with how sure it is."""
    from rich.console import Console
    from rich.text import Text

    line = Text("  recognised: ")
    for word in words:
        is_sure = word.confidence >= SURE
        line.append(printable(word.text), style="" if is_sure else "bold yellow")
        line.append(" " if is_sure else f"({word.confidence:.0%}) ", style="" if is_sure else "yellow")
    Console(stderr=True, highlight=False).print(line if words else Text("  recognised: nothing"))
