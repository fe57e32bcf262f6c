"""Writes the pinned requirements with hashes in requirements/, and the list of licences in docs/licences.md.

    python scripts/requirements.py             # from the packages of this environment, for this Python and platform
    python scripts/requirements.py --latest    # from the newest packages that pyproject.toml allows

pip chooses the packages and reports the SHA-256 of the file that it would install; the index is the one that pip is
configured to use, and its address is not written. The licences are those in the metadata of the installed packages.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SETS = {"device": ".", "dev": ".[train,dev]"}
BUILD = ("hatchling>=1.27", "editables>=0.5")  # what the editable installation of asr-edge itself needs
OWN = "asr-edge"
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


def pinned(extras: str, constraints: Path | None) -> list[str]:
    """The lines of a requirements file, from what pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), extras, *BUILD]
        command += ["--constraint", str(constraints)] if constraints else []
        subprocess.run(command, check=True, cwd=REPOSITORY)  # noqa: S603
        return lines(json.loads(report.read_text("utf-8")))


def lines(report: dict[str, list[dict[str, dict[str, object]]]]) -> list[str]:
    """The lines of a requirements file, from a report of pip."""
    found = {}
    for one in report["install"]:
        name = normalised(str(one["metadata"]["name"]))
        if name != OWN:
            digest = one["download_info"]["archive_info"]["hashes"]["sha256"]  # type: ignore[index]
            found[name] = f"{name}=={one['metadata']['version']} --hash=sha256:{digest}"
    return [found[name] for name in sorted(found)]


def frozen(folder: Path) -> Path:
    """A constraints file with the versions that are installed."""
    path = folder / "constraints.txt"
    own = {OWN}
    path.write_text(
        "".join(f"{d.name}=={d.version}\n" for d in distributions() if normalised(d.name) not in own), "utf-8"
    )
    return path


def licence(found: Distribution) -> str:
    """The licence in a package's metadata: its expression, its classifiers, or the first line of its text."""
    metadata = found.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    text = (metadata.get("License") or "").strip().splitlines()
    named = [line for line in classifiers if line != "OSI Approved"]
    return ", ".join(named) or (text[0][:80] if text else "not in its metadata")


def table(names: set[str]) -> Iterator[str]:
    """The lines of docs/licences.md."""
    yield from (
        "# Licences of the packages that asr-edge uses",
        "",
        "From the metadata of the packages in `requirements/`, by `python scripts/requirements.py --licences`. No",
        "wheel of asr-edge contains any of them. Only tests import pysrt (GPL).",
        "",
        "| package | licence |",
        "|---|---|",
    )
    found = {normalised(one.name): one for one in distributions()}
    for name in sorted(names):
        yield f"| {name} | {licence(found[name]).replace('|', '/') if name in found else 'not installed here'} |"


def names_in(path: Path) -> set[str]:
    """The packages of a requirements file."""
    return {line.partition("==")[0] for line in path.read_text("utf-8").splitlines() if "==" in line}


def write_licences() -> None:
    names = {name for path in (REPOSITORY / "requirements").glob("*.txt") for name in names_in(path)}
    (REPOSITORY / "docs" / "licences.md").write_text("\n".join(table(names)) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latest", action="store_true", help="the newest packages, not the installed ones")
    parser.add_argument("--licences", action="store_true", help="only docs/licences.md")
    options = parser.parse_args()
    if not options.licences:
        with tempfile.TemporaryDirectory() as folder:
            constraints = None if options.latest else frozen(Path(folder))
            for name, extras in SETS.items():
                path = REPOSITORY / "requirements" / f"{name}-{place()}.txt"
                head = HEAD.format(place=place(), file=path.relative_to(REPOSITORY))
                path.write_text(head + "\n".join(pinned(extras, constraints)) + "\n", "utf-8")
    write_licences()


if __name__ == "__main__":
    main()
