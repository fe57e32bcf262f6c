"""Options that several commands share, and loading of the model that they name."""

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
        help="An installed model, or the folder of a bundle.",
        show_default="the embedded model",
        autocompletion=_complete_model,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all available, at most 4")]
PrecisionName = Literal["int8", "fp32"]
Precision = Annotated[PrecisionName, typer.Option(help="Precision of the weights.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


LanguageModel = Annotated[
    Path | None, typer.Option("--lm", metavar="ARPA", help="An n-gram language model, for CTC models.")
]
Beam = Annotated[
    int | None,
    typer.Option(
        "--beam",
        min=1,
        max=64,
        metavar="N",
        help="Hypotheses kept while decoding; 1 is greedy and fastest. No effect on CTC models without --lm or terms.",
        show_default="4 for the embedded model",
    ),
]
TermsFile = Annotated[
    Path | None,
    typer.Option("--terms", metavar="FILE", help="Words and phrases to expect, beside those of 'asr-edge terms'."),
]
NoTerms = Annotated[bool, typer.Option("--no-terms", help="Leave out the terms of 'asr-edge terms'.")]
Version = Annotated[
    int | None, typer.Option(min=0, help="A version of the model; 0 is the base.", show_default="the active version")
]


def _complete_method(typed: str) -> list[str]:
    from editing.registry import METHODS

    return [name for name in METHODS if name.startswith(typed)]


def _complete_setting(context: typer.Context, typed: str) -> list[str]:
    from editing.registry import METHODS

    method = METHODS.get(context.params.get("method") or "ties")
    names = [] if method is None else [name for name in method.settings if name not in OWN_OPTIONS]
    return [f"{name}=" for name in names if name.startswith(typed)]


OWN_OPTIONS = {"lam": "lambda", "lambda": "lambda", "density": "density"}  # settings with an option of their own
AUTO = "auto"  # value of --lambda: chosen by a sweep
LambdaOrAuto = Annotated[
    str | None,
    typer.Option(
        "--lambda",
        metavar="FLOAT|auto",
        help="Scaling coefficient, also per layer; auto: chosen by WER.",
        show_default="the method's; 0.6 for ties",
    ),
]
Lambda = Annotated[
    str | None,
    typer.Option("--lambda", metavar="FLOAT", help="Scaling coefficient, also per layer: encoder=0.4,*=0.6."),
]
Method = Annotated[str, typer.Option(help="The merge method.", autocompletion=_complete_method)]
Density = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="The fraction of the vector's entries to keep.",
        show_default="the method's; 0.5 for ties",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another setting of the method, such as outliers=0.02; repeatable.",
        autocompletion=_complete_setting,
    ),
]
Host = Annotated[str, typer.Option("--on", metavar="URL", help="A trusted host.", autocompletion=complete_host)]
Tolerance = Annotated[
    float, typer.Option(min=0.0, help="Points by which the WER of earlier domains and general speech may rise.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the result, but do not make it active.")]
Force = Annotated[bool, typer.Option("--force", help="Make it active even if the gate rejects it.")]


def merge_settings(
    lam: str | None, density: float | None, method: str = "ties", others: Sequence[str] | None = None
) -> MergeSettings:
    """Settings of a merge from --method, --lambda, --density and --set; "auto" leaves lambda at its default.

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
        tell(f"A lambda above 1 (here {lam}) extrapolates beyond the fine-tuned model; WER usually rises steeply.")
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
        if name in settings:
            raise BadInputError(f"--set {pair}: {name} is given twice")
        if method not in METHODS:
            break  # `MergeSettings` reports it
        try:
            settings[name] = METHODS[method].parse(name, value)
        except ValueError as error:
            raise BadInputError(f"--set {pair}: {error}") from None
    return settings


def gate_policy(tolerance: float, *, force: bool, dry_run: bool, requires_gain: bool = True) -> GatePolicy:
    """The gate's policy from --tolerance (in points), --force and --dry-run."""
    from device_app.adaptation.settings import GatePolicy

    return GatePolicy(tolerance / 100, force=force, dry_run=dry_run, requires_gain=requires_gain)


def lambda_text(lam: Any) -> str:
    """A scaling coefficient in the syntax of --lambda."""
    if isinstance(lam, dict):
        return ",".join(f"{part}={value:g}" for part, value in lam.items())
    return f"{lam:g}"


def tell(message: str, *, bold: bool = False, colour: str | None = None) -> None:
    """Prints a message on standard error; standard output is for results."""
    echo(message, err=True, bold=bold, colour=colour)


def model_files(model: str | None) -> list[Path]:
    """The files of a model that `--model` names by its folder; no output may replace them."""
    return [] if model is None else sorted(path for path in Path(model).rglob("*") if path.is_file())


def decoding_options(
    lm: Path | None, beam: int | None, terms: Path | None = None, no_terms: bool = False
) -> DecodingOptions:
    """Decoding options from --lm, --beam, --terms and --no-terms.

    Raises:
        BadInputError: a file is not a valid ARPA file, or not a valid list of terms.
        StorageError: the list of terms in the data folder is damaged.
    """
    from device_app.data.terms import read_terms, stored_terms
    from device_app.recognition.ngram import NGram
    from device_app.recognition.options import DecodingOptions

    keyterms = [*(() if no_terms else stored_terms().terms), *(read_terms(terms) if terms else ())]
    return DecodingOptions(language_model=None if lm is None else NGram.read(lm), beam=beam, keyterms=keyterms)


def load(
    model: str | None,
    threads: int | None,
    precision: PrecisionName = "int8",
    version: int | None = None,
    decoding: DecodingOptions | None = None,
) -> tuple[Bundle, Transcriber]:
    """Loads the active version, or another one; prints a message if it has to be baked first."""
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
