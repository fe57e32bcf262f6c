"""Renews the JavaScript libraries of the page, and axe-core of its tests, from the npm registry, with their licences.

    python scripts/vendored.py                   the newest release of each
    python scripts/vendored.py uplot@1.6.32      this release of one

It needs npm. `vendored.json` beside the libraries of the page has name, version, licence, the registry's checksum of
the package, and the SHA-256 of each file; a test compares the files with it. Files of tests are compressed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VENDORED = ROOT / "device_app" / "service" / "page" / "static" / "vendored"
FOR_TESTS = ROOT / "tests" / "device_app" / "service" / "page" / "vendored"
RECORD = VENDORED / "vendored.json"
FILES = {
    "wavesurfer.js": ("LICENSE", "dist/wavesurfer.esm.js", "dist/plugins/record.esm.js"),
    "uplot": ("LICENSE", "dist/uPlot.esm.js", "dist/uPlot.min.css"),
    "axe-core": ("LICENSE", "axe.min.js"),
}
TESTS_ONLY = {"axe-core"}


def main(wanted: list[str]) -> None:
    """Renews the wanted libraries, by default all."""
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    for specification in wanted or list(FILES):
        name = specification.partition("@")[0]
        if name not in FILES:
            sys.exit(f"{name}: not a library of the page; there are {', '.join(FILES)}")
        record[name] = renew(specification, name)
        print(f"{name} {record[name]['version']} ({record[name]['licence']})")
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")


def renew(specification: str, name: str) -> dict[str, Any]:
    """Writes the files of one library; returns its entry in the record."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--json", "--ignore-scripts", specification]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603
        (packed,) = json.loads(done.stdout)
        archive = Path(folder) / packed["filename"]
        checksum = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if packed["integrity"] != f"sha512-{checksum}":
            sys.exit(f"{name}: the package is not what the registry announced")
        with tarfile.open(archive) as package:
            files = {path: _read(package, path) for path in ("package.json", *FILES[name])}
    licence = json.loads(files.pop("package.json"))["license"]
    target = (FOR_TESTS if name in TESTS_ONLY else VENDORED) / name
    target.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        if name in TESTS_ONLY and path.endswith(".js"):
            (target / f"{Path(path).name}.xz").write_bytes(lzma.compress(content, preset=9))
        else:
            (target / Path(path).name).write_bytes(content)
    hashes = {Path(path).name: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    return {"version": packed["version"], "licence": licence, "integrity": packed["integrity"], "files": hashes}


def _read(package: tarfile.TarFile, path: str) -> bytes:
    file = package.extractfile(f"package/{path}")
    if file is None:
        sys.exit(f"{path}: not a file of the package")
    return file.read()


if __name__ == "__main__":
    main(sys.argv[1:])
