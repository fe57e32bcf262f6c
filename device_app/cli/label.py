"""asr-edge label and correct: set the reference transcripts of recordings.

`label` without a subcommand is interactive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo
from device_app.cli.terminal.corrections import add_corrected_terms
from device_app.cli.terminal.keyboard import Keyboard
from device_app.cli.terminal.labelling import edit_utterance, label_utterances
from device_app.cli.terminal.next_step import tell_progress
from device_app.data.utterance import MIN_CONFIDENCE
from editing.errors import BadInputError

if TYPE_CHECKING:
    from device_app.data.utterance import StoredUtterance
    from device_app.recognition.transcriber import Transcriber

USAGE = "Usage: 'asr-edge correct', 'correct ID', 'correct ID \"TEXT\"' or 'correct --last \"TEXT\"'"

NoTerm = Annotated[bool, typer.Option("--no-term", help="Do not add the corrected words to 'asr-edge terms'.")]

app = typer.Typer(help="Label recordings with what is said in them.")


@app.callback(invoke_without_command=True)
def label(
    context: typer.Context,
    domain: Annotated[
        str | None, typer.Option(help="Only this domain.", autocompletion=completion.complete_domain)
    ] = None,
    low_confidence: Annotated[
        bool,
        typer.Option(
            "--low-confidence",
            help=f"Only recordings with a confidence below {100 * MIN_CONFIDENCE:.0f} %, "
            "labelled or not, lowest first.",
        ),
    ] = False,
    no_term: NoTerm = False,
    model: options.Model = None,
    threads: options.Threads = None,
) -> None:
    """Review recordings without a text: listen, and accept or edit the hypothesis.

    Enter accepts the text; the other keys are listed on the screen. 'label set' labels one without asking.
    """
    if context.invoked_subcommand is not None:
        return
    from device_app.data.store import Store

    keyboard = Keyboard("label", "'asr-edge label set ID TEXT'")
    with Store() as store:
        if low_confidence:
            unsure = [u for u in store.utterances(domain) if u.confidence is not None and u.confidence < MIN_CONFIDENCE]
            found = sorted(unsure, key=lambda utterance: utterance.confidence or 0.0)
        else:
            found = [u for u in store.utterances(domain) if u.text is None]
        if not found:
            options.tell("There is nothing to label.")
            return
        transcriber = _transcriber(model, threads)
        numbers = [utterance.number for utterance in found]
        with keyboard:
            confirmed = label_utterances(store, numbers, keyboard, transcriber, adds_terms=not no_term)
        echo(f"{confirmed} of {len(found)} confirmed")
        tell_progress(store, open_ledger(model), found[0].domain if domain is None else domain)


@app.command("set")
def set_text(
    number: Annotated[int, typer.Argument(metavar="ID", help="The utterance's number in 'dataset show'.")],
    text: Annotated[str, typer.Argument(help="What is said in it.")],
    no_term: NoTerm = False,
) -> None:
    """Label an utterance, or change its text."""
    from device_app.data.store import Store

    with Store() as store:
        utterance = store.set_text(number, text)
    _print_utterance(utterance)
    if not no_term:
        add_corrected_terms(utterance.hypothesis, utterance.text)


def correct(
    number: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="The utterance's number; not with --last.", show_default="the one recognised last"
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="What was really said.", show_default="you are asked")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The utterance that was recognised last.")] = False,
    domain: Annotated[str | None, typer.Option(help="Move it to this domain.", show_default="unchanged")] = None,
    no_term: NoTerm = False,
    model: options.Model = None,
    threads: options.Threads = None,
) -> None:
    """Correct the text of an utterance that was misrecognised.

    'asr-edge transcribe --save' stores utterances; 'correct' stores what was really said, for the next 'adapt'.
    Without TEXT it shows what the model recognises now; you edit the stored text, or that if there is none.
    """
    from device_app.data.names import GUARD_SET, checked_label, checked_name
    from device_app.data.store import Store

    if last:  # the only argument is the text
        if text is not None:
            raise BadInputError(f"--last takes one text, in quotes, and no ID. {USAGE}")
        number, text = None, number
    elif number is not None and not number.isdecimal():
        raise BadInputError(f"{number!r} is not the number of an utterance. {USAGE}")
    if domain is not None:
        checked_name(domain, "domain")
    new = None if text is None else checked_label(text)
    keyboard = Keyboard("correct", "'asr-edge correct ID TEXT'") if new is None else None
    with Store() as store:
        utterance = store.last_recognised() if number is None else store.get(int(number))
        if keyboard is not None:
            with keyboard:
                new = edit_utterance(store, utterance, keyboard, _transcriber(model, threads))
        if new is None:
            options.tell("Nothing was changed.")
            return
        utterance = store.set_text(utterance.number, new, domain)
        _print_utterance(utterance)
        if not no_term:
            add_corrected_terms(utterance.hypothesis, utterance.text)
        if utterance.domain != GUARD_SET:
            tell_progress(store, open_ledger(model), utterance.domain)


def _transcriber(model: str | None, threads: int | None) -> Transcriber:
    """The active version with the user's terms, as `transcribe --save` has them."""
    return options.load(model, threads, decoding=options.decoding_options(None, None))[1]


def _print_utterance(utterance: StoredUtterance) -> None:
    echo(f"{utterance.number}  {utterance.domain}  {utterance.text}")
