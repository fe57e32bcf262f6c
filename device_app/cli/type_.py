"""asr-edge type: what is said is typed into the focused window."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.data.names import DEFAULT_DOMAIN

Action = Literal["toggle", "start", "stop", "undo", "correct", "quit"]


def type_(
    action: Annotated[
        Action | None,
        typer.Argument(
            metavar="ACTION",
            help="For the running dictation, to bind to keys: toggle, start, stop, undo, correct or quit.",
            show_default="start the dictation, and wait for these",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or a part of its name.")] = None,
    silence: Annotated[
        float, typer.Option(min=0.1, max=5.0, help="Seconds of silence that end a sentence, which is then typed.")
    ] = 0.5,
    learn: Annotated[
        bool, typer.Option("--learn", help="Store audio and text; 'type correct' then learns from your edits.")
    ] = False,
    domain: Annotated[str, typer.Option(help="With --learn: the domain to keep it in.")] = DEFAULT_DOMAIN,
    model: options.Model = None,
    threads: options.Threads = None,
) -> None:
    """Dictate into any window: what you say is typed where the cursor is.

    Bind 'asr-edge type toggle' to a key of your desktop: it starts and stops listening. Saying "undo that" takes the
    last sentence back. With --learn, mend a sentence, select it, and press a key that runs 'asr-edge type correct'.
    """
    from device_app.dictation.control import Command, CommandServer, send

    if action is not None:
        send(Command(action))
        return
    from device_app.audio.microphone import Microphone
    from device_app.data.store import Store
    from device_app.dictation.session import Dictation
    from device_app.dictation.window import focused_window
    from device_app.recording.saver import UtteranceSaver

    window = focused_window()
    with ExitStack() as stack:
        server = stack.enter_context(CommandServer())
        transcriber = options.load(
            model, threads, decoding=options.decoding_options(None, None, with_replacements=True)
        )[1]
        store = stack.enter_context(Store()) if learn else None
        saver = None if store is None else UtteranceSaver(store, domain, "recorded")
        dictation = Dictation(
            transcriber,
            window,
            lambda: Microphone(device),
            server.commands,
            options.tell,
            silence_s=silence,
            store=store,
            saver=saver,
        )
        if store is not None:
            options.tell(f"Audio and text are stored on this machine, in {store.folder}, domain {domain!r}.")
        options.tell("Ready. 'asr-edge type toggle' starts and stops listening; Ctrl-C ends.")
        dictation.run()
