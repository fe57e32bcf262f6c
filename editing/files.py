"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from editing.errors import AsrEdgeError, BadInputError, StorageError


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Writes beside, syncs, renames: a reader sees the old file or the new one, never a part.

    Args:
        path: the file.
        data: its bytes.
        private: only its owner may read it.

    Raises:
        StorageError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    write_all_atomically({path: data}, private=private)


def write_all_atomically(files: Mapping[Path, bytes], *, private: bool = False) -> None:
    """`write_atomically` of several files, each whole or absent, with one sync a folder.

    Raises:
        StorageError: one of them cannot be written. None of them has appeared or changed, unless
            it was the renaming itself that failed.
    """
    temporaries = {path: path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp") for path in files}
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporaries[path].open("xb") as file:
                if private:
                    os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            temporary.replace(path)
        for folder in {path.parent for path in files}:
            _sync(folder)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):  # it is there only if the write failed
                temporary.unlink()


@contextmanager
def folder_in_one_step(path: Path) -> Iterator[Path]:
    """Yields a folder beside `path` that becomes `path` if the block succeeds and vanishes if not.

    Raises:
        BadInputError: `path` is in use: anything but absent or an empty folder.
        StorageError: it cannot be written, or the disk is full.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadInputError(f"{path}: already in use; name a new folder")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Finds out before long work whether `write_atomically(path, ...)` can succeed.

    Raises:
        StorageError: it cannot. The folder of `path` is made if it can be.
    """
    probe = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error to raise when `path` could not be written: what, why, and the remedy."""
    remedy = "free some space" if error.errno == errno.ENOSPC else "choose a place you can write to"
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed; {remedy}")


def _sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's renames, survive a power cut (files only on Windows)."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
