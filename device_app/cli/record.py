"""asr-edge record: records prompts or free speech into a domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo
from device_app.cli.terminal.keyboard import Keyboard
from device_app.cli.terminal.next_step import progress_of, tell_progress
from device_app.cli.terminal.recording import RecordingScreen
from device_app.data.names import DEFAULT_DOMAIN
from editing.errors import BadInputError, counted

if TYPE_CHECKING:
    from device_app.recording.session import RecordingSession


def record(
    prompts: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Sentences to read, one per line.", show_default="a built-in set"),
    ] = None,
    domain: Annotated[
        str,
        typer.Option(
            help="The domain of the recordings: a person, a room, a trade.", autocompletion=completion.complete_domain
        ),
    ] = DEFAULT_DOMAIN,
    free: Annotated[bool, typer.Option("--free", help="Say anything, and correct the hypothesis.")] = False,
    speaker: Annotated[str | None, typer.Option(help="Who speaks, if the domain has several people.")] = None,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or part of its name.")] = None,
    sample_rate: Annotated[
        float | None, typer.Option(min=8000, max=384_000, help="Sampling rate, Hz.", show_default="the device's own")
    ] = None,
    silence: Annotated[float, typer.Option(min=0.3, max=5.0, help="Seconds of silence that end a take.")] = 1.2,
    model: options.Model = None,
    threads: options.Threads = None,
) -> None:
    """Record sentences to train on, those with often misrecognised words first.

    Recording starts and stops by itself. After each take: Enter keeps it; the other keys are listed on the screen.
    You can end a session at any time; the next one continues where it stopped.
    """
    from device_app.audio.microphone import Microphone
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle
    from device_app.recording.prompts import built_in_prompts, read_prompts
    from device_app.recording.session import RecordingSession

    if free and prompts is not None:
        raise BadInputError("either a file of prompts or --free, not both")
    sentences = None if free else read_prompts(prompts or built_in_prompts(find_bundle(model).language))
    keyboard = Keyboard("record", "'asr-edge import' or 'asr-edge transcribe --save'")
    with Store() as store:
        session = RecordingSession(store, domain, sentences, speaker)
        with Microphone(device, sample_rate) as microphone:  # an error is reported before the model loads
            into = "" if domain == DEFAULT_DOMAIN else f" into domain {domain!r}"
            options.tell(f"Recording{into} with {microphone.name}, {microphone.sample_rate:g} Hz.")
        progress = progress_of(store, open_ledger(model), domain)
        _, transcriber = options.load(model, threads)
        screen = RecordingScreen(
            session, keyboard, transcriber, lambda: Microphone(device, sample_rate), silence, progress
        )
        with keyboard:
            try:
                screen.run()
            except KeyboardInterrupt:  # the same as the key q
                options.tell("")
        _tell_summary(session, domain)
        tell_progress(store, open_ledger(model), domain)


def _tell_summary(session: RecordingSession, domain: str) -> None:
    done = f"{session.done}" if session.total is None else f"{session.done} of {counted(session.total, 'prompt')}"
    echo(f"{domain}: {done} recorded, {session.seconds / 60:.1f} min")
    if session.total is not None and session.done < session.total:
        options.tell("The same command continues with the rest.")
