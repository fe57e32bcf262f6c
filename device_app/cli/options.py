"""Options that several commands share, and loading of the model that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from device_app.adaptation import tolerance
from device_app.cli import completion
from device_app.cli.completion import OWN_OPTIONS
from device_app.cli.printing import echo

if TYPE_CHECKING:
    from device_app.adaptation.settings import GatePolicy, MergeSettings
    from device_app.recognition.options import DecodingOptions
    from device_app.recognition.transcriber import Transcriber
    from export.bundle import Bundle


Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER",
        help="An installed model, or the folder of a bundle.",
        show_default="the one in use",
        autocompletion=completion.complete_model,
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
NoTerms = Annotated[bool, typer.Option("--no-terms", help="Leave out the list of 'asr-edge terms'.")]
Version = Annotated[
    int | None, typer.Option(min=0, help="A version of the model; 0 is the base.", show_default="the active version")
]


AUTO = "auto"  # value of --lambda: chosen by a sweep
FRACTION = "FLOAT (0<x<=1)"  # typer has no options for half-open ranges, so the help would say 0<=x<=1
LambdaOrAuto = Annotated[
    str | None,
    typer.Option(
        "--lambda",
        metavar="FLOAT|auto",
        help="Scaling coefficient, also per layer; auto: chosen by WER.",
        show_default="the method's; 0.6 for ties",
    ),
]


def lambda_option(default: str) -> Any:
    """The option --lambda of a command; `default` is the text that the help shows as the default."""
    text = "Scaling coefficient, also per layer: encoder=0.4,*=0.6."
    return typer.Option("--lambda", metavar="FLOAT", help=text, show_default=default)


def density_option(default: str) -> Any:
    """The option --density of a command; `default` is the text that the help shows as the default."""
    return typer.Option(metavar=FRACTION, help="The fraction of the vector's entries to keep.", show_default=default)


Lambda = Annotated[str | None, lambda_option("the method's; 0.6 for ties")]
Method = Annotated[str, typer.Option(help="The merge method.", autocompletion=completion.complete_method)]
Density = Annotated[float | None, density_option("the method's; 0.5 for ties")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another setting of the method, such as outliers=0.02; repeatable.",
        autocompletion=completion.complete_setting,
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="The language of the model's text: en, ja ...",
        show_default="the model card's; en without a card",
    ),
]
Host = Annotated[
    str, typer.Option("--on", metavar="URL", help="A trusted host.", autocompletion=completion.complete_host)
]
DEFAULT_TOLERANCE = 100 * tolerance.DEFAULT_TOLERANCE  # points
Tolerance = Annotated[
    float,
    typer.Option(min=0.0, max=100.0, help="Points by which the WER of earlier domains and general speech may rise."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the result, but do not make it active.")]
Force = Annotated[bool, typer.Option("--force", help="Make it active even if the gate rejects it.")]


def merge_settings(
    lam: str | None,
    density: float | None,
    method: str = "ties",
    others: Sequence[str] | None = None,
    *,
    allows_negative: bool = True,
    allows_auto: bool = False,
) -> MergeSettings:
    """Settings of a merge from --method, --lambda, --density and --set; "auto" leaves lambda to a sweep.

    Prints what an unusual lambda does.

    Raises:
        BadInputError: as `parse_merge_settings`.
    """
    settings = parse_merge_settings(
        lam, density, method, others, allows_negative=allows_negative, allows_auto=allows_auto
    )
    _tell_unusual(lam, settings.settings.get("lam"))
    return settings


def parse_merge_settings(
    lam: str | None,
    density: float | None,
    method: str = "ties",
    others: Sequence[str] | None = None,
    *,
    allows_negative: bool = True,
    allows_auto: bool = False,
) -> MergeSettings:
    """The settings of `merge_settings`; prints nothing.

    Args:
        lam: --lambda; None is the default of the method.
        density: --density; None is the default of the method.
        method: --method.
        others: each --set.
        allows_negative: whether lambda may be negative.
        allows_auto: whether lambda may be "auto", because the command chooses it by a sweep.

    Raises:
        BadInputError: lambda is neither a number nor numbers by layers, or is not allowed; or the method
            does not have one of the other settings; or a value is out of range.
    """
    from device_app.adaptation.settings import MergeSettings
    from editing.errors import BadInputError
    from editing.methods import METHODS

    if method not in METHODS:
        raise BadInputError(f"there is no merge method {method!r}; there are {', '.join(METHODS)}")
    settings = _other_settings(method, others or ())
    if density is not None:
        if "density" not in METHODS[method].details:
            raise BadInputError(f"--density: {method} has no density; it has {_listed(method)}")
        METHODS[method].details["density"].check("--density", density)
        settings["density"] = density
    if lam == AUTO and not allows_auto:
        raise BadInputError("--lambda auto: only 'asr-edge adapt' chooses lambda by WER; expected a number")
    if lam is not None and lam != AUTO:
        settings["lam"] = _parse_lambda(lam)
        METHODS[method].details["lam"].check("--lambda", settings["lam"])
        _check_sign(lam, settings["lam"], allows_negative)
    return MergeSettings(method, settings)


def _parse_lambda(text: str) -> float | dict[str, float]:
    """Parses the value of --lambda.

    Raises:
        BadInputError: it is neither a number nor numbers by layers, or a layer is given twice.
    """
    from editing.errors import BadInputError

    try:
        if "=" not in text:
            return float(text)
        pairs = [(part.strip(), float(value)) for part, value in (one.split("=", 1) for one in text.split(","))]
    except ValueError:
        raise BadInputError(f"--lambda {text}: expected a number, or numbers by layers: encoder=0.4,*=0.6") from None
    if len(dict(pairs)) < len(pairs) or not all(part for part, _ in pairs):
        raise BadInputError(f"--lambda {text}: each layer needs a name, and is given once: encoder=0.4,*=0.6")
    return dict(pairs)


def _values_of(lam: float | dict[str, float]) -> list[float]:
    return list(lam.values()) if isinstance(lam, dict) else [lam]


def _check_sign(text: str, lam: float | dict[str, float], allows_negative: bool) -> None:
    """Checks the sign of a lambda.

    Raises:
        BadInputError: lambda is negative, and the command does not allow it.
    """
    from editing.errors import BadInputError

    if min(_values_of(lam)) < 0 and not allows_negative:
        raise BadInputError(
            f"--lambda {text}: a negative lambda subtracts the task vector, so it cannot improve the domain; "
            "'asr-edge reweight' takes one"
        )


def _tell_unusual(text: str | None, lam: float | dict[str, float] | None) -> None:
    """Prints what a negative lambda does, or one above 1."""
    if lam is None:
        return
    values = _values_of(lam)
    if min(values) < 0:
        tell(f"A negative lambda (here {text}) subtracts the task vector: its domain is recognised worse.")
    if max(values) > 1:
        tell(f"A lambda above 1 (here {text}) extrapolates beyond the fine-tuned model; WER usually rises steeply.")


def _other_settings(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """The settings of a merge method from the values of --set.

    Raises:
        BadInputError: one is not NAME=VALUE, is given twice or has an option of its own, the method does not have it,
            or its value is out of range.
    """
    from editing.errors import BadInputError
    from editing.methods import METHODS

    known = METHODS[method].details
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, is_pair, value = (part.strip() for part in pair.partition("="))
        if not is_pair or not name:
            raise BadInputError(f"--set {pair}: expected NAME=VALUE, for instance outliers=0.02")
        name = "lam" if name == "lambda" else name
        if name in OWN_OPTIONS:
            raise BadInputError(f"--set {pair}: use {OWN_OPTIONS[name]}")
        if name in settings:
            raise BadInputError(f"--set {pair}: {name} is given twice")
        if name not in known:
            raise BadInputError(f"--set {pair}: {method} has no {name}; it has {_listed(method)}")
        try:
            settings[name] = known[name].parse(value)
        except ValueError:
            raise BadInputError(f"--set {pair}: {name} is {value!r}; expected {known[name].expected}") from None
        known[name].check(f"--set {pair}: {name}", settings[name])
    return settings


def _listed(method: str) -> str:
    """The settings of a merge method as options."""
    from editing.methods import METHODS

    return ", ".join(OWN_OPTIONS.get(name, f"--set {name}") for name in METHODS[method].settings)


def gate_policy(tolerance: float, *, force: bool, dry_run: bool, requires_gain: bool = True) -> GatePolicy:
    """The gate's policy from --tolerance (in points), --force and --dry-run.

    Args:
        tolerance: in points.
        force: --force.
        dry_run: --dry-run.
        requires_gain: whether the WER of the edit's domain must fall.

    Raises:
        BadInputError: the tolerance is NaN.
    """
    from device_app.adaptation.settings import GatePolicy
    from editing.ranges import Range

    Range(0, 100).check("--tolerance", tolerance)
    return GatePolicy(tolerance / 100, force=force, dry_run=dry_run, requires_gain=requires_gain)


def lambda_text(lam: Any) -> str:
    """A scaling coefficient in the syntax of --lambda."""
    if isinstance(lam, dict):
        return ",".join(f"{part}={value:g}" for part, value in lam.items())
    return f"{lam:g}"


def tell(message: str, *, bold: bool = False, hanging: int | None = None) -> None:
    """Prints a message on standard error; standard output is for results. See `printing.echo`."""
    echo(message, err=True, bold=bold, hanging=hanging)


def model_files(model: str | None) -> list[Path]:
    """The files of the model of `--model`, None for the one in use; no output may replace them.

    Raises:
        BundleError: there is no such model, or it is damaged.
        StorageError: which model is in use cannot be read.
    """
    from device_app.models.bundles import find_bundle

    return sorted(path for path in find_bundle(model).folder.rglob("*") if path.is_file())


def decoding_options(
    lm: Path | None,
    beam: int | None,
    terms: Path | None = None,
    no_terms: bool = False,
    *,
    with_replacements: bool = False,
) -> DecodingOptions:
    """Decoding options from --lm, --beam, --terms and --no-terms.

    Args:
        lm: --lm.
        beam: --beam.
        terms: --terms, a file whose terms and replacements are added to the list in the data folder.
        no_terms: --no-terms: leave that list out.
        with_replacements: whether to replace words; False where texts are compared with what was said.
    Raises:
        BadInputError: a file is not a valid ARPA file, or not a valid list of terms.
        StorageError: the list of terms in the data folder is damaged.
    """
    from device_app.data.terms import TermList, read_terms, stored_terms
    from device_app.recognition.ngram import NGram
    from device_app.recognition.options import DecodingOptions

    listed = TermList() if no_terms else stored_terms()
    more, replacements = read_terms(terms) if terms else ([], [])
    return DecodingOptions(
        language_model=None if lm is None else NGram.read(lm),
        beam=beam,
        keyterms=[*listed.terms, *more],
        replacements=[*listed.replacements, *replacements] if with_replacements else (),
    )


def load(
    model: str | None,
    threads: int | None,
    precision: PrecisionName = "int8",
    version: int | None = None,
    decoding: DecodingOptions | None = None,
) -> tuple[Bundle, Transcriber]:
    """Loads the active version, or another one; prints a message if it has to be baked first.

    Args:
        model: --model; None is the model in use.
        threads: of the CPU; None is all available, at most 4.
        precision: of the weights.
        version: number of a version, 0 is the base; None is the active one.
        decoding: how to decode.

    Raises:
        BundleError: there is no such model, or it is damaged.
        BadInputError: there is no such version, or a decoding option does not fit the model.
        StorageError: the ledger is damaged, or the model cannot be baked because the disk is full.
    """
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
