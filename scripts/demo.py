"""make demo: before and after one adaptation on real speech, offline, in a temporary data folder.

python scripts/demo.py [--picture demo.png]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = 3  # held-out codes that are shown before and after
DOMAIN = "codes"


def asr_edge(*arguments: str) -> str:
    """Runs a command, with its progress on standard error; returns its standard output.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "device_app", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own program)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def hypotheses(files: Sequence[str]) -> list[str]:
    return [one["text"] or "(nothing)" for one in json.loads(asr_edge("transcribe", *files, "--format", "json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ASR_EDGE_HOME"] = folder
        codes = Path(folder) / "codes"
        subprocess.run([sys.executable, Path(__file__).with_name("codes.py"), codes], check=True)  # noqa: S603 (our own)
        print("1. Importing 50 spelled codes in telephone quality. Some are held out for the measurement.", flush=True)
        asr_edge("import", str(codes / "manifest.jsonl"), "--domain", DOMAIN)
        stored: list[dict[str, Any]] = json.loads(asr_edge("dataset", "show", DOMAIN, "--json"))
        shown = [one for one in stored if one["split"] == "test"][:SHOWN]
        files = [one["audio"] for one in shown]
        before = hypotheses(files)
        print("2. Adapting to the others, which takes minutes.", flush=True)
        outcome = json.loads(asr_edge("adapt", "--domain", DOMAIN, "--json"))
        print("3. Transcribing the held-out codes again.\n", flush=True)
        after = hypotheses(files)
        for one, old, new in zip(shown, before, after, strict=True):
            print(f"   said     {one['text']}\n   before   {old}\n   after    {new}\n")
        print(f"   {'words wrong':16} {'before':>8} {'after':>8}")
        for domain, change in outcome["domains"].items():
            print(f"   {domain:16} {change['before']:8.1%} {change['after']:8.1%}")
        asr_edge("report", "--picture", str(options.picture), "--overwrite")
    print(f"""
   The picture of it: {options.picture}
   Any such change can be undone: asr-edge revert 1

Now with your own voice:
   . .venv/bin/activate
   asr-edge record        # read 10 sentences or more aloud
   asr-edge adapt
   asr-edge transcribe""")


if __name__ == "__main__":
    main()
