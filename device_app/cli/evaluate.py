"""asr-edge evaluate: word and character error rates on labelled recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_app.cli import completion, options
from device_app.cli.printing import echo, print_json, print_text
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table
from device_app.data.names import DEFAULT_DOMAIN
from editing.errors import BadInputError

if TYPE_CHECKING:
    from device_app.data.utterance import Utterance


def evaluate(
    manifests: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MANIFEST]...", help="JSON lines, or a folder with manifest.jsonl."),
    ] = None,
    domains: Annotated[
        list[str] | None,
        typer.Option(
            "--domain",
            help="Stored recordings of this domain, the held-out ones unless --split says otherwise.",
            autocompletion=completion.complete_domain,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only the lines of this split.")] = None,
    worst: Annotated[int, typer.Option(min=0, metavar="N", help="Show the N worst utterances, aligned.")] = 0,
    model: options.Model = None,
    precision: options.Precision = "int8",
    version: options.Version = None,
    lm: options.LanguageModel = None,
    beam: options.Beam = None,
    terms: options.TermsFile = None,
    no_terms: options.NoTerms = False,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure word and character error rates.

    Two normalisers: "english" unifies spelling and numbers, and is for English only; "basic" only removes
    case and punctuation. In scripts without spaces every character counts as a word.
    """
    from device_app.data.manifest import read_manifest
    from device_app.evaluation.evaluate import evaluate as measure
    from device_app.evaluation.stored import labelled_utterances

    entries: dict[str, Sequence[Utterance]] = {
        str(manifest): read_manifest(manifest, split) for manifest in manifests or ()
    }
    if domains:
        entries |= labelled_utterances(domains, split or "test")
    if not entries:
        raise BadInputError(f"name a manifest, or recordings with --domain, such as --domain {DEFAULT_DOMAIN}")
    decoding = options.decoding_options(lm, beam, terms, no_terms)
    if decoding.keyterms and not no_terms:
        options.tell(f"Keyterms: {len(decoding.keyterms)}; --no-terms leaves out those of 'asr-edge terms'")
    _, transcriber = options.load(model, threads, precision, version, decoding)
    repaired: list[str] = []
    with progress("evaluating", sum(map(len, entries.values()))) as advance:
        report = measure(transcriber, entries, worst=worst, on_done=lambda: advance(1), on_repair=repaired.append)
    for message in repaired:
        options.tell(message)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    """Prints the report of `evaluation.evaluate` as a table, and the worst utterances if it has them."""
    from device_app.evaluation.error_rates import NORMALISERS

    names = [name for name in NORMALISERS if name in report]
    rows: list[tuple[str, ...]] = [("", "utterances", *(title for name in names for title in (f"{name} WER", "CER")))]
    for manifest in report["manifests"]:
        rows.append((manifest["manifest"], *_figures(manifest)))
        if len(manifest["speakers"]) > 1:
            rows += [(f"  {name or '(no speaker)'}", *_figures(part)) for name, part in manifest["speakers"].items()]
    if len(report["manifests"]) > 1:
        rows.append(("all", *_figures(report)))
    print_table(rows, right=range(1, len(rows[0])))
    echo(f"{report['duration_s']:.0f} s of audio in {report['seconds']:.1f} s (RTF {report['rtf']:.3f})")
    for utterance in report.get("worst", []):
        echo()
        echo(f"{utterance['id']}  (WER {utterance[names[0]]['wer']:.0%})")
        print_text(f"{utterance['aligned']}\n")


def _figures(part: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a row: utterances, then WER and CER by each normaliser; of a manifest, a speaker or the whole."""
    from device_app.evaluation.error_rates import NORMALISERS

    rates = (part[normaliser][rate] for normaliser in NORMALISERS if normaliser in part for rate in ("wer", "cer"))
    return (str(part["utterances"]), *(f"{rate:.1%}" for rate in rates))
