"""asr-edge label and correct: what was really said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from device_app.store import StoredUtterance

app = typer.Typer(help="Say what recordings contain.", no_args_is_help=True)


@app.command("set")
def set_text(
    identity: Annotated[int, typer.Argument(metavar="ID", help="The utterance, as 'dataset show' numbers it.")],
    text: Annotated[str, typer.Argument(help="What is said in it.")],
) -> None:
    """Label an utterance, or give it another text."""
    from device_app.store import Store

    with Store() as store:
        _tell(store.set_text(identity, text))


def correct(
    identity_or_text: Annotated[str, typer.Argument(metavar="[ID]", help="The utterance; not with --last.")],
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What was really said.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The utterance that was heard last.")] = False,
    domain: Annotated[str | None, typer.Option(help="The domain it shall belong to. [default: where it is]")] = None,
) -> None:
    """Turn an utterance that was misheard into one to learn from.

    'asr-edge transcribe --save' keeps utterances; this says what was really said.
    """
    from device_app.store import Store, checked_name
    from editing.errors import BadInputError

    if last == (text is not None):
        raise BadInputError(
            "expected either 'correct ID TEXT' or 'correct --last TEXT' (a text of several words in quotes)"
        )
    if not last and not identity_or_text.isdecimal():
        raise BadInputError(f"{identity_or_text!r} is not the number of an utterance; 'asr-edge dataset show' has them")
    if domain is not None:
        checked_name(domain, "domain")
    with Store() as store:
        identity = store.last_heard().id if last else int(identity_or_text)
        corrected = store.set_text(identity, identity_or_text if text is None else text)
        if domain is not None:
            store.move([identity], domain)
            corrected = store.get(identity)
        _tell(corrected)


def _tell(utterance: StoredUtterance) -> None:
    typer.echo(f"{utterance.id}  {utterance.domain}  {utterance.text}")
