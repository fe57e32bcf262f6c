"""Options that several verbs share, and the model they load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from device_app.transcriber import Transcriber
    from export.bundle import Bundle


def _complete_model(typed: str) -> list[str]:
    from device_app.models import model_names

    return [name for name in model_names() if name.startswith(typed)]


def complete_domain(typed: str) -> list[str]:
    from device_app.store import Store

    with Store() as store:
        return [stats.domain for stats in store.stats() if stats.domain.startswith(typed)]


Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER",
        help="An installed model or a bundle's folder. [default: the embedded one]",
        autocompletion=_complete_model,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. [default: all available, at most 4]")]
PrecisionName = Literal["int8", "fp32"]
Precision = Annotated[PrecisionName, typer.Option(help="Which baked model to run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def tell(message: str) -> None:
    """Talk goes to standard error; standard output is for results."""
    typer.echo(message, err=True)


def load(model: str | None, threads: int | None, precision: PrecisionName = "int8") -> tuple[Bundle, Transcriber]:
    """The bundle and its transcriber; says so where the model has to be baked first."""
    from device_app.models import find_bundle
    from device_app.transcriber import Transcriber

    bundle = find_bundle(model)
    announce = f"Preparing {bundle.name} ({precision}) for this machine, once ..."
    return bundle, Transcriber(bundle, precision=precision, threads=threads, on_bake=lambda: tell(announce))
