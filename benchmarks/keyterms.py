"""WER of listed and of other words, with and without keyterms, with paired-bootstrap intervals.

    python benchmarks/keyterms.py MANIFEST... [--split test] [--most 100] [--lists said,unsaid,1000,common]
    python benchmarks/keyterms.py MANIFEST... --corrections [--adapt]
    python benchmarks/keyterms.py MANIFEST... --cost

Each manifest has a `keyterms.jsonl` beside it: for each recording the terms of its list, and which of them are said.
B-WER and U-WER are those of Le et al. 2021 (arXiv 2104.02194): substitutions and deletions count where the
reference's word is in the list (B) or is not (U); an insertion counts as B where the inserted word is in the list.
Words are compared under the normaliser `basic`, which keeps them as they are listed. "missed" is the share of the
terms said that are missing in the hypothesis. Intervals hold 95 % of the resamples of utterances, of the difference
to no terms.

`--lists` chooses what each utterance is given: "said" its own list; "unsaid" the list without the terms that are said;
a number its own list, filled up to that number with terms of others; "common" one list for all, with all terms that are
said in the set and as many others. `--strengths` compares several strengths of the bonus, as was done once on training
lines to choose the default.

`--corrections` goes through the recordings in order, as a person who corrects each text: a word that is missed becomes
a term, and counts as right if the next recording in which it is said has it. With `--adapt`, `asr-edge adapt --force`
then trains on the recordings in which words were missed, but on no line of the split "test", and on none in which the
next occurrence of a word is measured. How many of these occurrences are right without terms is compared before and
after it, for the words that became terms and for all that were missed. `--cost` compares processor time without terms,
with 100 and with 10,000.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jiwer
import numpy as np
from numpy.typing import NDArray

from device_app import Transcriber, embedded_bundle, my_model
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.data.terms.corrected_words import corrected_words
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import basic
from device_app.models.baking import baked
from device_app.recognition.decoder_search import SearchSettings
from device_app.recognition.encoder_decoder.recogniser import MIN_TOKENS
from device_app.recognition.families import moonshine
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.keyterms.terms import Keyterms, Strength
from device_app.recognition.options import DecodingOptions

RESAMPLES = 2000
Variant = tuple[Strength | None, SearchSettings | None]  # None: no terms; the model's own search
COLUMNS = ("b_errors", "b_words", "u_errors", "u_words", "missed", "said")


@dataclass(frozen=True)
class Line:
    """An utterance and its list."""

    utterance: Utterance
    said: Sequence[str]
    terms: Sequence[str]


def read_lines(manifest: Path, split: str | None, most: int | None) -> list[Line]:
    """At most so many of the manifest's utterances, drawn with a fixed seed."""
    utterances = {one.id: one for one in read_manifest(manifest, split)}
    records = map(json.loads, (manifest.parent / "keyterms.jsonl").read_text("utf-8").splitlines())
    lines = [Line(utterances[r["audio"]], r["said"], r["terms"]) for r in records if r["audio"] in utterances]
    return [lines[i] for i in sorted(np.random.default_rng(0).permutation(len(lines))[:most])]


def with_lists(lines: Sequence[Line], name: str) -> list[Line]:
    """The lines with the lists that `--lists` names."""
    if name == "said":
        return [*lines]
    if name == "unsaid":
        return [Line(line.utterance, (), [term for term in line.terms if term not in line.said]) for line in lines]
    if name == "common":
        said = list(dict.fromkeys(term for line in lines for term in line.said))
        return [Line(line.utterance, line.said, filled(said, lines, 2 * len(said))) for line in lines]
    # A word that is said but is not among an utterance's own terms is none of its rare words.
    return [
        Line(line.utterance, line.said, filled(line.terms, lines, int(name), words([line.utterance.transcript])))
        for line in lines
    ]


def filled(terms: Sequence[str], lines: Sequence[Line], size: int, without: Set[str] = frozenset()) -> list[str]:
    """Terms, and others of the lines' lists up to a size."""
    known = {term.lower() for term in terms} | without
    others = dict.fromkeys(term for line in lines for term in line.terms if term.lower() not in known)
    return [*terms, *islice(others, max(0, size - len(terms)))]


def words(terms: Sequence[str]) -> set[str]:
    return {word for term in terms for word in basic(term).split()}


def counts(line: Line, hypothesis: str) -> list[int]:
    """Of one utterance, in the order of `COLUMNS`."""
    listed = words(line.terms)
    output = jiwer.process_words(basic(line.utterance.transcript), basic(hypothesis))
    reference, found = output.references[0], output.hypotheses[0]
    errors = {True: 0, False: 0}
    for chunk in output.alignments[0]:
        if chunk.type in ("substitute", "delete"):
            for word in reference[chunk.ref_start_idx : chunk.ref_end_idx]:
                errors[word in listed] += 1
        elif chunk.type == "insert":
            for word in found[chunk.hyp_start_idx : chunk.hyp_end_idx]:
                errors[word in listed] += 1
    of_list = sum(word in listed for word in reference)
    said = words(line.said)
    missed = len(said - set(found))
    return [errors[True], of_list, errors[False], len(reference) - of_list, missed, len(said)]


class Recogniser:
    """The embedded model; the terms and their strength are given with each utterance."""

    def __init__(self, threads: int, precision: str) -> None:
        bundle = embedded_bundle()
        self._transcriber = Transcriber(bundle, precision=precision, threads=threads)  # type: ignore[arg-type]
        self._plain = self._transcriber._recogniser
        self._bundle, self._folder, self._threads = bundle, baked(bundle, precision), threads  # type: ignore[arg-type]
        self._names = [
            self._plain._tokenizer.id_to_token(token)  # type: ignore[attr-defined]
            for token in range(self._plain._tokenizer.get_vocab_size())  # type: ignore[attr-defined]
        ]
        self._latest: tuple[tuple[list[str], Strength], TermGraph] | None = None
        self._biased = moonshine.load(bundle, self._folder, threads, DecodingOptions(keyterms=["asr-edge"]))

    def __call__(
        self, line: Line, strength: Strength | None, search: SearchSettings | None = None
    ) -> tuple[str, float]:
        """The text, and the seconds of processor time that it took, without the making of the graph."""
        audio = line.utterance.read()
        if strength is None or not line.terms:
            self._transcriber._recogniser = self._plain
        else:
            self._biased._terms = self._graph(line.terms, strength)
            if search is not None:
                self._biased._settings = search
            self._transcriber._recogniser = self._biased
        began = time.process_time()
        text = self._transcriber.transcribe(audio, SAMPLE_RATE).text
        return text, time.process_time() - began

    def copy(self) -> Recogniser:
        """Another with the same sessions, which keeps its own graph of terms."""
        other = copy.copy(self)
        other._biased = copy.copy(self._biased)
        other._transcriber = copy.copy(self._transcriber)
        return other

    def _graph(self, terms: Sequence[str], strength: Strength) -> TermGraph:
        if self._latest is None or self._latest[0] != (list(terms), strength):
            graph = TermGraph(Keyterms(terms, strength), self._names)
            graph._new_words  # noqa: B018
            self._latest = (list(terms), strength), graph
        return self._latest[1]


def rates(found: NDArray[np.int64]) -> dict[str, float]:
    """B-WER, U-WER, WER and the share of missed terms, fractions, of (utterances, columns) counts."""
    total = dict(zip(COLUMNS, found.sum(axis=0).tolist(), strict=True))

    def share(errors: int, of: int) -> float:
        return errors / of if of else 0.0

    return {
        "b_wer": share(total["b_errors"], total["b_words"]),
        "u_wer": share(total["u_errors"], total["u_words"]),
        "wer": share(total["b_errors"] + total["u_errors"], total["b_words"] + total["u_words"]),
        "missed": share(total["missed"], total["said"]),
    }


def intervals(before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[str, tuple[float, float]]:
    """The 95 % intervals of the differences of `rates`, by a paired bootstrap of utterances."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(before), (RESAMPLES, len(before)))
    pairs = [(rates(before[picks]), rates(after[picks])) for picks in drawn]
    return {
        name: tuple(np.quantile([new[name] - old[name] for old, new in pairs], (0.025, 0.975)).tolist())
        for name in pairs[0][0]
    }


def row(name: str, found: NDArray[np.int64], plain: NDArray[np.int64], seconds: float) -> str:
    now = rates(found)
    text = f"{name:22}" + "".join(f"  {key} {100 * value:5.2f}" for key, value in now.items())
    if found is not plain:
        limits = intervals(plain, found)
        text += "".join(f"  {key} [{100 * a:+.1f}, {100 * b:+.1f}]" for key, (a, b) in limits.items())
        old = rates(plain)["missed"]
        if old:
            text += f"  missed relative {100 * (now['missed'] / old - 1):+.0f} %"
    return f"{text}  {seconds:.1f} s"


def compared(recognise: Recogniser, manifest: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The rates without terms, and with each kind of list and strength."""
    lines = read_lines(manifest, arguments.split, arguments.most)
    without = [recognise(line, None) for line in lines]
    report: dict[str, Any] = {}
    for lists in arguments.lists.split(","):
        listed = with_lists(lines, lists)
        variants: Mapping[str, Variant] = {"none": (None, None), **strengths(arguments)}
        plain: NDArray[np.int64] | None = None
        for name, (strength, search) in variants.items():
            results = without if strength is None else [recognise(line, strength, search) for line in listed]
            found = np.array([counts(line, text) for line, (text, _) in zip(listed, results, strict=True)], np.int64)
            plain = found if plain is None else plain
            seconds = sum(one for _, one in results)
            label = f"{manifest.parent.name} {lists} {name}"
            report[label] = {**rates(found), "intervals": intervals(plain, found), "seconds": seconds}
            report[label]["counts"] = dict(zip(COLUMNS, found.sum(axis=0).tolist(), strict=True))
            report[label]["changed"] = sum(a[0] != b[0] for a, b in zip(without, results, strict=True))
            if not arguments.json:
                print(row(label, found, plain, seconds), f"changed {report[label]['changed']}", flush=True)
    return report


def after_corrections(
    recognise: Recogniser, utterances: Sequence[Utterance], hypotheses: Mapping[str, str]
) -> dict[str, Any]:
    """Of the words that are missed and said again: how many are right the next time, with terms and without."""
    waiting: dict[str, str] = {}
    terms: dict[str, str] = {}
    outcomes: dict[str, dict[str, bool]] = {}
    for utterance in utterances:
        text = utterance.transcript
        plain = hypotheses[utterance.location]
        said = words([text])
        if again := [key for key in waiting if key in said]:
            helped = recognise(Line(utterance, (), [*terms.values()]), Strength())[0]
            for key in again:
                outcomes[key] = {"terms": key in words([helped]), "none": key in words([plain])}
                del waiting[key]
        for word in corrected_words(plain, text):
            key = basic(word)
            if key and " " not in key and key not in terms:
                terms[key] = waiting[key] = word
    total = len(outcomes)
    return {
        "recur": total,
        **{
            f"right with {name}": f"{sum(one[name] for one in outcomes.values())} of {total}"
            for name in ("terms", "none")
        },
        "missed again": [word for word, one in outcomes.items() if not one["terms"]],
    }


def after_adaptation(utterances: Sequence[Utterance], plain: Mapping[str, str]) -> dict[str, str]:
    """How many words that were missed once are right in their next recording, before and after an adaptation."""
    missed_in: dict[str, Utterance] = {}
    next_in: dict[str, Utterance] = {}
    terms: set[str] = set()
    for utterance in utterances:
        said, recognised = words([utterance.transcript]), words([plain[utterance.location]])
        for key in said & missed_in.keys() - next_in.keys():
            next_in[key] = utterance
        for key in said - recognised - missed_in.keys():
            missed_in[key] = utterance
        terms |= words(corrected_words(plain[utterance.location], utterance.transcript))
    measured = {one.location for one in next_in.values()}
    usable = {one.location for one in utterances if one.split != "test"} - measured
    trained = {one.location: one for key, one in missed_in.items() if key in next_in and one.location in usable}
    if not trained:
        return {"trained on": "no recordings: all have the split 'test', or are measured"}
    adapted = texts_after_adaptation([*trained.values()], [*next_in.values()])
    report = {"trained on": f"{len(trained)} recordings"}
    for name, keys in (("terms", next_in.keys() & terms), ("all words", next_in.keys())):
        counted = [key for key in keys if missed_in[key].location in trained]
        for state, texts in (("before", plain), ("after", adapted)):
            right = sum(key in words([texts[next_in[key].location]]) for key in counted)
            report[f"{name} right {state}"] = f"{right} of {len(counted)}"
    return report


def texts_after_adaptation(training: Sequence[Utterance], test: Sequence[Utterance]) -> dict[str, str]:
    """The texts of the test recordings, by location, after `asr-edge adapt` with the training recordings."""
    with tempfile.TemporaryDirectory() as home:
        manifest = Path(home) / "training.jsonl"
        lines = [{"audio": str(one.file.resolve()), "text": one.transcript} for one in training]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        environment = {**os.environ, "ASR_EDGE_HOME": home}
        for arguments in (
            ["import", str(manifest), "--domain", "corrected"],
            ["adapt", "--domain", "corrected", "--force"],
        ):
            subprocess.run([sys.executable, "-m", "device_app", *arguments], env=environment, check=True)
        with patch.dict(os.environ, environment):
            transcriber = Transcriber(my_model())
        return {one.location: transcriber.transcribe(one.read(), SAMPLE_RATE).text for one in test}


def cost(recognise: Recogniser, lines: Sequence[Line]) -> dict[str, float]:
    """Processor time with 100 and 10,000 terms, as a multiple of that without; the variants take turns."""
    seconds = dict.fromkeys((0, 100, 10_000), 0.0)
    known = sorted(path for path in lines[0].utterance.audio.parents[2].glob("*/keyterms.jsonl"))
    records = [json.loads(line) for path in known for line in path.read_text("utf-8").splitlines()]
    pool = [*dict.fromkeys(term for record in records for term in record["terms"])]
    recognisers = {size: recognise if size == 0 else recognise.copy() for size in seconds}
    for line in [lines[0], *lines]:  # the first recording twice: its first time warms up, and is not counted
        is_warm = line is not lines[0] or seconds[0] > 0
        for size, one in recognisers.items():
            taken = one(Line(line.utterance, (), pool[:size]), Strength())[1]
            seconds[size] += taken if is_warm else 1e-9
    return {f"{size} terms": seconds[size] / seconds[0] for size in (100, 10_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--most", type=int, help="utterances of each manifest")
    parser.add_argument("--strengths", help="nats per character : most nats [: beam [: margin]], separated by commas")
    parser.add_argument("--lists", default="said", help="said, unsaid, a number, common; separated by commas")
    parser.add_argument("--corrections", action="store_true", help="simulate a person who corrects each text")
    parser.add_argument("--adapt", action="store_true", help="with --corrections: measure an adaptation to them too")
    parser.add_argument("--cost", action="store_true", help="compare processor time")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    recognise = Recogniser(arguments.threads, arguments.precision)
    report: dict[str, Any] = {}
    for manifest in arguments.manifests:
        name = manifest.parent.name
        if arguments.corrections:
            utterances = read_manifest(manifest, arguments.split)[: arguments.most]
            hypotheses = {one.location: recognise(Line(one, (), ()), None)[0] for one in utterances}
            report[name] = after_corrections(recognise, utterances, hypotheses)
            if arguments.adapt:
                report[name] |= after_adaptation(utterances, hypotheses)
        elif arguments.cost:
            report[name] = cost(recognise, read_lines(manifest, arguments.split, arguments.most))
        else:
            report |= compared(recognise, manifest, arguments)
            continue
        if not arguments.json:
            print(name, report[name], flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


def strengths(arguments: argparse.Namespace) -> dict[str, Variant]:
    if not arguments.strengths:
        return {"terms": (Strength(), None)}
    found: dict[str, Variant] = {}
    for one in arguments.strengths.split(","):
        per_character, most, *more = map(float, one.split(":"))
        settings = SearchSettings(int(more[0]), *more[1:2], min_tokens=MIN_TOKENS) if more else None
        found[one] = Strength(per_character, most), settings
    return found


if __name__ == "__main__":
    main()
