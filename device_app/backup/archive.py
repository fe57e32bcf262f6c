"""The file of a backup: one uncompressed tar with regular files only, and a manifest as the last of them.

    audio/..., quarantine/..., ledgers/..., models/..., jobs/..., hosts.json, terms.json, settings.toml,
    model-in-use.json
    store.sqlite3       the database; after the recordings, so that all that it names have been written
    manifest.json       format version, time, and size and SHA-256 of every other file

The reader trusts nothing: it parses one header at a time, allows only the names above, no links and no sparse files,
and compares every byte with the manifest. Because nothing is compressed, the content is no larger than the archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from device_app.data.store.connection import DATABASE
from device_app.remote.archive import content, members
from editing.errors import BadInputError, one_line
from editing.files import MAX_NAME_LENGTH
from editing.json_text import is_whole_number, parse_json
from editing.printable import printable
from editing.privacy import make_folder

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 256 << 20  # a million files need half of that
MAX_FILES = 1_000_000
FILES = (DATABASE, "terms.json", "hosts.json", "settings.toml", "model-in-use.json")
FOLDERS = ("audio", "quarantine", "ledgers", "models", "jobs")
_HASH = re.compile(r"[0-9a-f]{64}")

OnDone = Callable[[float], None]  # receives the number of bytes since the last call


@dataclass(frozen=True)
class Manifest:
    """The last file of a backup.

    Attributes:
        files: size in bytes and SHA-256 of every other file, by its path in the data folder.
        left_out: what could not be backed up, one line each.
        created: ISO 8601, UTC.
        version: the version of the asr-edge that wrote it.
    """

    files: Mapping[str, tuple[int, str]]
    left_out: Sequence[str] = ()
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    version: str = ""

    def to_bytes(self) -> bytes:
        record = {
            "format_version": FORMAT_VERSION,
            "asr_edge": self.version,
            "created": self.created,
            "left_out": list(self.left_out),
            "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in self.files.items()},
        }
        return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


class Writer:
    """Writes a backup's files into an open file; `finish` adds the manifest.

    Attributes:
        files: size in bytes and SHA-256 of every file that was added, by its path in the data folder.
    """

    def __init__(self, file: IO[bytes], on_done: OnDone) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8")  # noqa: SIM115
        self._on_done = on_done
        self.files: dict[str, tuple[int, str]] = {}

    def add_bytes(self, name: str, data: bytes) -> None:
        """Adds a file of known content; does nothing if there is a file of this name already.

        Raises:
            BadInputError: its name cannot be stored.
            OSError: the backup cannot be written.
        """
        self._add(name, io.BytesIO(data), len(data))

    def add(self, name: str, path: Path) -> None:
        """Adds a file that does not change any more, as `add_bytes`.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if name not in self.files:
            with path.open("rb") as file:
                self._add(name, file, path.stat().st_size)

    def _add(self, name: str, file: IO[bytes], size: int) -> None:
        if name in self.files:
            return
        if not is_safe(name):
            raise BadInputError(f"{name}: cannot be stored under this name; nothing was written. Rename the file")
        digest = hashlib.sha256()
        self._tar.addfile(_member(name, size), _Hashed(file, digest.update))
        self.files[name] = (size, digest.hexdigest())
        self._on_done(size)

    def finish(self, left_out: Sequence[str], version: str) -> Manifest:
        """Adds the manifest and ends the archive.

        Args:
            left_out: as `Manifest.left_out`.
            version: the version of this asr-edge.
        """
        manifest = Manifest(self.files, left_out, version=version)
        data = manifest.to_bytes()
        self._tar.addfile(_member(MANIFEST, len(data)), io.BytesIO(data))
        self._tar.close()
        return manifest


class _Hashed(io.RawIOBase):
    """A file whose content is hashed while it is read."""

    def __init__(self, file: IO[bytes], update: Callable[[bytes], object]) -> None:
        self._file, self._update = file, update

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._update(data)
        return data


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # without owner and time
    member.size, member.mode = size, 0o600
    return member


def is_safe(name: str) -> bool:
    """Whether a name may be that of a file in a backup: one of the data folder's, below it, and printable."""
    parts = name.split("/")
    are_names = all(
        part not in ("", ".", "..") and "\\" not in part and len(part.encode(errors="replace")) <= MAX_NAME_LENGTH
        for part in parts
    )
    is_printable = name.isprintable() and printable(name) == name
    return are_names and is_printable and (name in FILES if len(parts) == 1 else parts[0] in FOLDERS)


def extract(file: IO[bytes], what: str, folder: Path, on_done: OnDone) -> Manifest:
    """Extracts an untrusted backup into a new private folder, and compares every file with the manifest.

    Args:
        file: the backup, at its beginning.
        what: its name in error messages.
        folder: an empty folder.
        on_done: called with the number of bytes extracted since the last call.

    Raises:
        BadInputError: it is no backup, is truncated or damaged, or was written by a later version.
        OSError: the folder cannot be written, or the disk is full.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, size in members(file, what, "utf-8"):
        if name == MANIFEST:
            manifest = _manifest(file, size, what)
            _compare(found, manifest.files, what)
            return manifest
        if not is_safe(name) or name in found or len(found) >= MAX_FILES:
            raise BadInputError(f"{what}: {one_line(repr(name))} is not a name of a backup; nothing was changed")
        found[name] = size, _extract(content(file, size, what), folder / name, on_done)
    raise BadInputError(f"{what}: its manifest is missing, so it is no backup, or incomplete; nothing was changed")


def _extract(chunks: Iterator[bytes], target: Path, on_done: OnDone) -> str:
    make_folder(target.parent)
    digest = hashlib.sha256()
    target.touch(0o600, exist_ok=False)
    with target.open("wb") as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
            on_done(len(chunk))
    return digest.hexdigest()


def _manifest(file: IO[bytes], size: int, what: str) -> Manifest:
    if size > MAX_MANIFEST_BYTES:
        raise BadInputError(f"{what}: its manifest of {size} bytes is too large; nothing was changed")
    data = b"".join(content(file, size, what))
    try:
        return _parsed(parse_json(data, strict=True))
    except LaterFormatError as error:
        raise BadInputError(f"{what}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"{what}: its manifest is damaged ({one_line(str(error))}); nothing was changed") from None


class LaterFormatError(ValueError):
    """A later version of asr-edge has written a backup."""


def _parsed(record: Any) -> Manifest:
    version = record["format_version"]
    if not is_whole_number(version, minimum=1):
        raise ValueError("its format version is not a number")
    made_by = one_line(str(record["asr_edge"]), 40)
    if version > FORMAT_VERSION:
        raise LaterFormatError(
            f"was made by asr-edge {made_by} (format {version}; this one reads format {FORMAT_VERSION}); nothing was "
            "changed. Update asr-edge"
        )
    files = {name: (one["bytes"], one["sha256"]) for name, one in record["files"].items()}
    for size, digest in files.values():
        if not is_whole_number(size) or not _HASH.fullmatch(digest):
            raise ValueError("a size or a hash is invalid")
    left_out = [one_line(str(line), 500) for line in record["left_out"]]
    return Manifest(files, left_out, one_line(str(record["created"]), 40), made_by)


def _compare(found: Mapping[str, tuple[int, str]], declared: Mapping[str, tuple[int, str]], what: str) -> None:
    for name in found.keys() | declared.keys():
        if found.get(name) != declared.get(name):
            raise BadInputError(
                f"{what}: {one_line(name)} is not as its manifest says, so the backup is damaged; nothing was changed. "
                "Use another copy of it"
            )
