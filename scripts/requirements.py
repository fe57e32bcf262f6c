"""Writes the pinned requirements with hashes in requirements/, and the list of licences in docs/licences.md.

    python scripts/requirements.py             # from the packages of this environment, for this Python and platform
    python scripts/requirements.py --latest    # from the newest packages that pyproject.toml allows

pip chooses the packages and reports the SHA-256 of the file that it would install; the index is the one that pip is
configured to use, and its address is not written.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SETS = {"device": ".", "dev": ".[train,dev]"}
BUILD = ("hatchling>=1.27", "editables>=0.5")  # what the editable installation of asr-edge itself needs
OWN = "asr-edge"
ELSEWHERE = {  # not in the metadata, or of packages that only build asr-edge
    "cuda-toolkit": "NVIDIA CUDA Toolkit EULA",
    "editables": "MIT",
    "hatchling": "MIT",
    "pathspec": "MPL-2.0",
    "pluggy": "MIT",
    "tomlkit": "MIT",
    "trove-classifiers": "Apache-2.0",
}
Report = Mapping[str, Any]  # packages of a report of pip, by normalised name
HEAD = """# Written by scripts/requirements.py for {place}. Install with:
#     pip install --require-hashes -r {file}
#     pip install --no-deps --no-build-isolation --editable .
"""


def place() -> str:
    """This Python and platform, as in the names of the files in requirements/."""
    return f"{platform.system().lower()}-{platform.machine()}-py{sys.version_info.major}{sys.version_info.minor}"


def normalised(name: str) -> str:
    """The name of a package as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def report_of(extras: str, constraints: Path | None) -> Report:
    """What pip would install: name, version, licence and hash of every package."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(path), extras, *BUILD]
        command += ["--constraint", str(constraints)] if constraints else []
        subprocess.run(command, check=True, cwd=REPOSITORY)  # noqa: S603
        return packages(json.loads(path.read_text("utf-8")))


def packages(report: Any) -> Report:
    """The packages of a report of pip, by normalised name, without asr-edge itself."""
    found = {normalised(one["metadata"]["name"]): one for one in report["install"]}
    return {name: found[name] for name in sorted(found) if name != OWN}


def lines(found: Report) -> list[str]:
    """The lines of a requirements file."""
    return [
        f"{name}=={one['metadata']['version']} --hash=sha256:{one['download_info']['archive_info']['hashes']['sha256']}"
        for name, one in found.items()
    ]


def frozen(folder: Path) -> Path:
    """A constraints file with the versions that are installed."""
    path = folder / "constraints.txt"
    own = {OWN}
    path.write_text(
        "".join(f"{d.name}=={d.version}\n" for d in distributions() if normalised(d.name) not in own), "utf-8"
    )
    return path


def licence(name: str) -> str:
    """The licence in a package's metadata: its expression, its classifiers, or the first line of its text."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return ELSEWHERE[name]
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    text = (metadata.get("License") or "").strip().splitlines()
    named = [line for line in classifiers if line != "OSI Approved"]
    return ", ".join(named) or (text[0][:80] if text else ELSEWHERE[name])


def table(found: Report) -> Iterator[str]:
    """The lines of docs/licences.md."""
    yield from (
        "# Licences of the packages that asr-edge uses",
        "",
        f"As the metadata of the packages in `requirements/` says, for {place()}; `scripts/requirements.py` writes it.",
        "No wheel of asr-edge contains any of these packages. Only tests import pysrt (GPL).",
        "The wheel has copies of wavesurfer.js (BSD-3-Clause) and uPlot (MIT); see [the page](page.md).",
        "",
        "| package | licence |",
        "|---|---|",
    )
    for name in sorted(found):
        yield f"| {name} | {licence(name).replace('|', '/')} |"


def write(reports: Mapping[str, Report]) -> None:
    """Writes the requirements files and the list of licences."""
    for name, found in reports.items():
        path = REPOSITORY / "requirements" / f"{name}-{place()}.txt"
        head = HEAD.format(place=place(), file=path.relative_to(REPOSITORY))
        path.write_text(head + "\n".join(lines(found)) + "\n", "utf-8")
    every = {name: one for found in reports.values() for name, one in found.items()}
    (REPOSITORY / "docs" / "licences.md").write_text("\n".join(table(every)) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latest", action="store_true", help="the newest packages, not the installed ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        constraints = None if options.latest else frozen(Path(folder))
        write({name: report_of(extras, constraints) for name, extras in SETS.items()})


if __name__ == "__main__":
    main()
