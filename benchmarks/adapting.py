"""Runs `asr-edge adapt` on a sequence of domains, and evaluates each version on separate test recordings.

    python benchmarks/adapting.py DATA digits-jackson
    python benchmarks/adapting.py DATA mandarin-adults telephone-prompts spelled-codes --lambda auto

Each domain is a folder in DATA with a `manifest.jsonl` whose lines have a split. The script imports
the `train` lines of each named domain and runs `asr-edge adapt`. Before and after each edit it measures
the WER (`basic`, int8) on the `test` lines of these domains and of those after --also.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OTHERS = ("mandarin-children", "read-speech", "cv-us")


def asr(home: Path, *arguments: object) -> str:
    """Runs a command; accepts exit code 3, a rejected version."""
    done = subprocess.run(
        [sys.executable, "-m", "device_app", *map(str, arguments)],
        env={**os.environ, "ASR_EDGE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return done.stdout


def write_training_manifest(manifest: Path, folder: Path) -> Path:
    """Writes a manifest of the `train` lines with absolute paths of the recordings."""
    lines = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    chosen = [
        {**line, "audio": str((manifest.parent / line["audio"]).resolve())}
        for line in lines
        if line["split"] == "train"
    ]
    path = folder / f"{manifest.parent.name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in chosen), "utf-8")
    return path


def test_wer(home: Path, data: Path, domains: Sequence[str]) -> dict[str, float]:
    manifests = [data / domain / "manifest.jsonl" for domain in domains]
    report = json.loads(asr(home, "evaluate", *manifests, "--split", "test", "--json"))
    return {Path(part["manifest"]).parent.name: 100 * part["basic"]["wer"] for part in report["manifests"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("domains", nargs="+")
    parser.add_argument("--also", nargs="*", default=OTHERS, help="domains that are only tested")
    parser.add_argument("--lambda", dest="lam")
    parser.add_argument("--adapt", nargs="*", default=[], help="further options of adapt, without dashes: scope=all")
    options = parser.parse_args()
    domains = list(dict.fromkeys([*options.domains, *options.also]))
    adapt_options = [part for option in options.adapt for part in f"--{option}".split("=")]
    adapt_options += ["--lambda", options.lam] if options.lam else []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        rows = [("the base", test_wer(home, options.data, domains))]
        for domain in options.domains:
            manifest = write_training_manifest(options.data / domain / "manifest.jsonl", Path(name))
            asr(home, "import", manifest, "--domain", domain)
            began = time.perf_counter()
            outcome = json.loads(asr(home, "adapt", "--domain", domain, "--json", *adapt_options))
            seconds = time.perf_counter() - began
            settings = outcome["edit"]["settings"]
            rows.append((f"+ {domain}", test_wer(home, options.data, domains)))
            print(
                f"{domain}: {'active' if outcome['promoted'] else outcome['reasons']}, lambda {settings['lam']}, "
                f"density {settings.get('density')}, {seconds:.0f} s in total, {outcome['tuning_s']:.0f} s for "
                f"fine-tuning, {len(outcome['losses'])} epochs",
                flush=True,
            )
            for label, change in outcome["domains"].items():
                print(f"  held out, {label}: {change['before']:.1%} -> {change['after']:.1%}", flush=True)
    width = max(len(label) for label, _ in rows)
    print(" " * width, *(f"{domain:>18}" for domain in domains))
    for label, wer in rows:
        print(f"{label:{width}}", *(f"{wer[domain]:18.1f}" for domain in domains))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"peak memory of a command: {peak:.2f} GB")


if __name__ == "__main__":
    main()
