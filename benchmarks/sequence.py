"""What several edits in sequence cost readers who are in no domain, and what each gains.

    python benchmarks/sequence.py DATA digits-jackson spelled-codes mandarin-adults --seeds 0 1 2

Each domain is a folder in DATA with a `manifest.jsonl` whose lines have a split. For each seed, imports the `train`
lines of the domains one after another and adapts to them as `asr-edge adapt --force` does, with the default settings.
`general-judge` is transcribed after each edit, and the `test` lines of a domain before the first edit, after its own
and after the last one. WER is `basic`, of the int8 model, in per cent; the intervals are of a paired bootstrap.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JUDGE = "general-judge"


def run(data: Path, domains: Sequence[str], seed: int | None, threads: int, home: str) -> dict[str, Any]:
    """Adapts to all domains; returns hypotheses by set and number of edits, and what happened in each step.

    Without a seed, only the hypotheses of the base.
    """
    os.environ["ASR_EDGE_HOME"] = home
    from device_app.adaptation.adapt import adapt
    from device_app.adaptation.gate import Hypotheses
    from device_app.adaptation.local_training import LocalFineTuning
    from device_app.adaptation.settings import AdaptationSettings, GatePolicy
    from device_app.audio.samples import SAMPLE_RATE
    from device_app.data.importing import import_utterances
    from device_app.data.manifest import read_manifest
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from device_app.models.bundles import embedded_bundle
    from device_app.models.ledger import Ledger
    from device_app.recognition.transcriber import Transcriber
    from device_app.reporter import SilentReporter

    ledger = Ledger(embedded_bundle())
    context = ExecutionContext(threads)
    hypotheses: dict[tuple[str, int], Hypotheses] = {}
    steps = []

    def transcribe(name: str, edits: int) -> None:
        transcriber = Transcriber(ledger.bundle(ledger.current), threads=threads)
        test = read_manifest(data / name / "manifest.jsonl", "test")
        texts = [transcriber.transcribe(one.read(), SAMPLE_RATE).text for one in test]
        hypotheses[name, edits] = Hypotheses([one.transcript for one in test], texts)
        wer = hypotheses[name, edits].wer
        print(f"seed {seed}: {name} after {edits} edits: {wer:.2%}", flush=True)  # in case the run is cut off

    for name in (JUDGE, *domains) if seed is None else ():
        transcribe(name, 0)
    for number, domain in enumerate(domains if seed is not None else (), 1):
        began = time.monotonic()
        lines = read_manifest(data / domain / "manifest.jsonl", "train")
        settings = AdaptationSettings(domain, gate=GatePolicy(force=True), seed=seed or 0)
        with Store() as store:
            import_utterances(store, lines, domain)
            with ledger.changing():
                tune = LocalFineTuning({"scope": "encoder", "seed": seed}, SilentReporter())
                outcome = adapt(store, ledger, settings, tune, context)
        total = time.monotonic() - began
        for name in (JUDGE, *(domains if number == len(domains) else [domain])):
            transcribe(name, number)
        steps.append(
            {
                "domain": domain,
                "seconds": total,
                "finetuning_s": outcome.finetuning_s,
                "reasons": list(outcome.verdict.reasons),
                "gate": {
                    name: [one.before, one.after, one.harm, one.divergence, one.loss_rise]
                    for name, one in outcome.verdict.changes.items()
                },
                "vector_mb": sum(path.stat().st_size for path in ledger.folder.rglob("*.safetensors")) / 1e6,
            }
        )
    return {"seed": seed, "hypotheses": hypotheses, "steps": steps}


def report(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Prints the changes of the WER of one seed, and returns them."""
    from device_app.adaptation.gate import compare

    rows = []
    for step in found["steps"]:
        gate = {name: [round(x, 4) if x is not None else None for x in one] for name, one in step["gate"].items()}
        print(
            f"seed {found['seed']}, {step['domain']}: {step['seconds']:.0f} s, {step['finetuning_s']:.1f} s of them "
            f"fine-tuning; files {step['vector_mb']:.1f} MB; "
            f"{'; '.join(step['reasons']) or 'the gate passes it'}; {gate}"
        )
    for name, edits in found["hypotheses"]:
        if edits:
            change = compare(found["hypotheses"][name, 0], found["hypotheses"][name, edits])
            row = {"seed": found["seed"], "set": name, "edits": edits, "before": change.before, "after": change.after}
            rows.append({**row, "low": change.low, "high": change.high})
            print(
                f"  {name} after {edits} edits: {change.before:.2%} -> {change.after:.2%}, "
                f"{100 * change.difference:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}] points",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("domains", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=1, help="seeds that run at the same time")
    parser.add_argument("--out", type=Path, help="a file for the rows, JSON lines")
    options = parser.parse_args()
    from device_app.adaptation.gate import compare

    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(options.at_once, maxtasksperchild=1) as pool,
    ):
        tasks = [
            pool.apply_async(run, (options.data, options.domains, seed, options.threads, str(Path(folder) / str(seed))))
            for seed in (None, *options.seeds)
        ]
        base, *results = [task.get() for task in tasks]
        for found in results:
            found["hypotheses"] = base["hypotheses"] | found["hypotheses"]
        rows = [row for found in results for row in report(found)]
    if options.out:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for name in (JUDGE, *options.domains):
        pairs = [[found["hypotheses"][name, edits] for found in results] for edits in (0, len(options.domains))]
        before, after = (one[0] for one in pairs)
        for more_before, more_after in zip(*(one[1:] for one in pairs), strict=True):
            before, after = before.followed_by(more_before), after.followed_by(more_after)
        change = compare(before, after)
        print(
            f"{name}, all seeds: {change.before:.2%} -> {change.after:.2%}, {100 * change.difference:+.2f} "
            f"[{100 * change.low:+.2f}, {100 * change.high:+.2f}] points"
        )


if __name__ == "__main__":
    main()
