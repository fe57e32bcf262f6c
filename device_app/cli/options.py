"""Options that several verbs share, and the model they load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from device_app.cli.printing import echo

if TYPE_CHECKING:
    from device_app.adaptation.settings import GatePolicy, MergeSettings
    from device_app.recognition.options import DecodingOptions
    from device_app.recognition.transcriber import Transcriber
    from export.bundle import Bundle


def _complete_model(typed: str) -> list[str]:
    from device_app.models.bundles import model_names

    return [name for name in model_names() if name.startswith(typed)]


def complete_domain(typed: str) -> list[str]:
    from device_app.data.store import Store

    with Store() as store:
        return [stats.domain for stats in store.stats() if stats.domain.startswith(typed)]


def complete_edit(typed: str) -> list[str]:
    from device_app.models.bundles import embedded_bundle
    from device_app.models.ledger import Ledger

    return [str(edit.id) for edit in Ledger(embedded_bundle()).edits if str(edit.id).startswith(typed)]


def complete_host(typed: str) -> list[str]:
    from device_app.remote.trusted_hosts import hosts

    return [url for url in hosts() if url.startswith(typed)]


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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there already.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


LanguageModel = Annotated[
    Path | None, typer.Option("--lm", metavar="ARPA", help="An n-gram model of words, for CTC models.")
]
Beam = Annotated[
    int | None,
    typer.Option(
        "--beam",
        min=1,
        max=64,
        metavar="N",
        help="Hypotheses kept while decoding; 1 is greedy and fastest. [default: the model's]",
    ),
]
Version = Annotated[
    int | None, typer.Option(min=0, help="Which version of the model; 0 is the base. [default: the active one]")
]


def _complete_method(typed: str) -> list[str]:
    from editing.registry import METHODS

    return [name for name in METHODS if name.startswith(typed)]


def _complete_setting(context: typer.Context, typed: str) -> list[str]:
    from editing.registry import METHODS

    method = METHODS.get(context.params.get("method") or "ties")
    own = [] if method is None else [name for name in method.settings if name not in OWN_OPTIONS]
    return [f"{name}=" for name in own if name.startswith(typed)]


OWN_OPTIONS = {"lam": "lambda", "lambda": "lambda", "density": "density"}  # settings with an option of their own
AUTO = "auto"  # of --lambda: chosen by a sweep
LambdaOrAuto = Annotated[
    str | None,
    typer.Option(
        "--lambda",
        metavar="FLOAT|auto",
        help="How much of the edit is added, also by layers; auto tries. [default: 0.6]",
    ),
]
Lambda = Annotated[
    str | None,
    typer.Option("--lambda", metavar="FLOAT", help="How much is added, also by layers: encoder=0.4,*=0.6."),
]
Method = Annotated[str, typer.Option(help="How vectors are merged.", autocompletion=_complete_method)]
Density = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="The fraction of the vector's entries that is kept. [default: 0.5]"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another setting of the method, for instance outliers=0.02; may be repeated.",
        autocompletion=_complete_setting,
    ),
]
Host = Annotated[str, typer.Option("--on", metavar="URL", help="A host that is trusted.", autocompletion=complete_host)]
Tolerance = Annotated[float, typer.Option(min=0.0, help="WER points by which nothing that was known may get worse.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be heard.")]
Force = Annotated[bool, typer.Option("--force", help="Make it active whatever the gate finds.")]


def merge_settings(
    lam: str | None, density: float | None, method: str = "ties", others: Sequence[str] | None = None
) -> MergeSettings:
    """The merge that --method, --lambda, --density and --set describe; "auto" leaves lambda to its default.

    Raises:
        BadInputError: lambda is neither a number, "auto", nor numbers by layers; or the method does not
            have one of the other settings.
    """
    from device_app.adaptation.settings import MergeSettings
    from editing.errors import BadInputError

    settings = _other_settings(method, others or ())
    if density is not None:
        settings["density"] = density
    if lam is None or lam == AUTO:
        return MergeSettings(method, settings)
    try:
        if "=" in lam:
            settings["lam"] = {part: float(value) for part, value in (one.split("=", 1) for one in lam.split(","))}
        else:
            settings["lam"] = float(lam)
    except ValueError:
        raise BadInputError(f"--lambda {lam}: expected a number, or numbers by layers: encoder=0.4,*=0.6") from None
    values = settings["lam"].values() if isinstance(settings["lam"], dict) else [settings["lam"]]
    if max(values) > 1:
        tell(f"A lambda above 1 (here {lam}) goes beyond what was learnt; WER rises steeply there.")
    return MergeSettings(method, settings)


def _other_settings(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    from editing.errors import BadInputError
    from editing.registry import METHODS

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise BadInputError(f"--set {pair}: expected NAME=VALUE, for instance outliers=0.02")
        if name in OWN_OPTIONS:
            raise BadInputError(f"--set {pair}: use --{OWN_OPTIONS[name]}")
        if method not in METHODS:
            break  # `MergeSettings` names the methods that there are
        try:
            settings[name] = METHODS[method].parse(name, value)
        except ValueError as error:
            raise BadInputError(f"--set {pair}: {error}") from None
    return settings


def gate_policy(tolerance: float, *, force: bool, dry_run: bool, requires_gain: bool = True) -> GatePolicy:
    """What --tolerance (in points), --force and --dry-run say."""
    from device_app.adaptation.settings import GatePolicy

    return GatePolicy(tolerance / 100, force=force, dry_run=dry_run, requires_gain=requires_gain)


def lambda_text(lam: Any) -> str:
    """A scaling coefficient as --lambda takes it."""
    if isinstance(lam, dict):
        return ",".join(f"{part}={value:g}" for part, value in lam.items())
    return f"{lam:g}"


def tell(message: str, *, bold: bool = False, colour: str | None = None) -> None:
    """Messages go to standard error; standard output is for results."""
    echo(message, err=True, bold=bold, colour=colour)


def model_files(model: str | None) -> list[Path]:
    """The files of a model that is named by its folder: no output may replace them."""
    return [] if model is None else sorted(path for path in Path(model).rglob("*") if path.is_file())


def decoding_options(lm: Path | None, beam: int | None) -> DecodingOptions:
    """What --lm and --beam say, as the recogniser takes it.

    Raises:
        BadInputError: the file is not an ARPA file that can be read.
    """
    from device_app.recognition.ngram import NGram
    from device_app.recognition.options import DecodingOptions

    return DecodingOptions(language_model=None if lm is None else NGram.read(lm), beam=beam)


def load(
    model: str | None,
    threads: int | None,
    precision: PrecisionName = "int8",
    version: int | None = None,
    decoding: DecodingOptions | None = None,
) -> tuple[Bundle, Transcriber]:
    """The active version (or another) and its transcriber; says so where it has to be baked first."""
    from device_app.models.active import my_model
    from device_app.recognition.options import DecodingOptions
    from device_app.recognition.transcriber import Transcriber

    bundle = my_model(model, version)
    announce = f"Preparing {bundle.name} ({precision}) for this machine, once ..."
    transcriber = Transcriber(
        bundle,
        precision=precision,
        threads=threads,
        on_bake=lambda: tell(announce),
        options=decoding or DecodingOptions(),
    )
    return bundle, transcriber
