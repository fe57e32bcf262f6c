"""Atomic writing: a file is either whole or absent, whatever happens while it is written."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from editing.errors import AsrEdgeError, BadInputError, StorageError
from editing.privacy import (
    is_private,
    make_folder,
    restrict_access,
)

MAX_NAME_LENGTH = 255  # bytes
_DESCRIPTOR = re.compile(r"(?:/proc/(?P<process>\d+)(?:/task/\d+)?|/dev)/fd/(?P<number>\d+)")


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks, before any work, that no output is a file that the command reads.

    Compares files, not names: other spellings, hard links and symbolic links are found too.

    Args:
        outputs: files that will be written; they need not exist.
        inputs: files that will be read; those that do not exist are ignored.

    Raises:
        BadInputError: an output is an input.
    """
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    for output in outputs:
        source = read.get(_identity(output) or (-1, -1))  # no file is (-1, -1)
        if source is not None:
            same = "is an input" if str(source) == str(output) else f"is the same file as the input {source}"
            raise BadInputError(f"{output}: {same}; nothing was changed. Name another file for the output")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a regular file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Writes a temporary file, syncs and renames it: a reader sees the old file or the new one, never a part.

    A replaced file keeps its permissions. A symbolic link stays, and its target is replaced. A stream
    (see `is_stream`) cannot be replaced; it is opened and written to.

    Args:
        path: the file.
        data: its bytes.
        private: only the owner may read it, as always in a `private_folder`.

    Raises:
        StorageError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    write_all_atomically({path: data}, private=private)


def write_all_atomically(files: Mapping[Path, bytes], *, private: bool = False) -> None:
    """`write_atomically` for several files, each whole or absent, with one sync per folder.

    Raises:
        StorageError: one of them cannot be written. None of them has appeared or changed, unless
            it was the renaming itself that failed, or one is a stream.
    """
    temporaries: dict[Path, Path] = {}  # by the file that each will replace
    path = Path()  # the one that is being written, for the error message
    try:
        for path, data in files.items():
            target = _link_target(path)
            if _is_stream(target):
                _write_through(path, target, data)
                continue
            make_folder(target.parent)
            temporaries[target] = _temporary_path(target)
            _write_temporary(temporaries[target], target, data, private or is_private(path) or is_private(target))
        for path, temporary in temporaries.items():
            temporary.replace(path)
        for folder in {target.parent for target in temporaries}:
            sync(folder)  # makes the renaming durable
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(path, error) from error
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):  # it exists only if the write failed
                temporary.unlink()


@contextmanager
def new_file_in_one_step(path: Path) -> Iterator[IO[bytes]]:
    """Yields a new private file that is synced and renamed to `path` if the block succeeds, and removed if not.

    For content that is too large for memory; see `write_atomically`.

    Raises:
        OSError: it cannot be written; `path` is as it was.
    """
    target = _link_target(path)
    temporary = _temporary_path(target)
    temporary.touch(0o600, exist_ok=False)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def shortened(name: str, length: int) -> str:
    """A file name of at most `length` bytes, cut between characters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= length else encoded[:length].decode(errors="ignore")


def _temporary_path(path: Path) -> Path:
    suffix = f".{secrets.token_hex(8)}.tmp"
    name = shortened(path.name, MAX_NAME_LENGTH - 1 - len(suffix))
    return path.with_name(f".{name}{suffix}")


def _write_temporary(temporary: Path, target: Path, data: bytes, private: bool) -> None:
    """Writes the file that will replace `target`, with the permissions of `target` if that exists."""
    mode = stat.S_IMODE(target.stat().st_mode) if target.is_file() else None
    temporary.touch(0o666 if mode is None and not private else 0o600, exist_ok=False)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode & (0o700 if private else 0o777))
        os.fsync(file.fileno())


def is_stream(path: Path) -> bool:
    """Whether a path cannot be replaced, only written to: a FIFO, a terminal or another character
    device, a descriptor such as /dev/stdout, or a symbolic link to one of them.

    Raises:
        StorageError: it is of a kind that cannot be written, such as a block device.
    """
    try:
        return _is_stream(_link_target(path))
    except OSError as error:
        raise cannot_write(path, error) from error


def _link_target(path: Path) -> Path:
    """The target of a path's chain of symbolic links; it need not exist.

    The target of /dev/stdout is not followed further, because another process has opened it and
    continues to write to it.
    """
    with suppress(FileNotFoundError):
        path.stat()  # raises for loops, and for links of other users in a shared folder
    while path.is_symlink() and _descriptor(path) is None:
        path = path.parent / path.readlink()
    return path


def _descriptor(path: Path) -> re.Match[str] | None:
    """Matches a path that is a descriptor of a process: /dev/fd/1, /proc/self/fd/1."""
    return _DESCRIPTOR.fullmatch(f"{os.path.realpath(path.parent)}/{path.name}") if path.name.isdecimal() else None


def _is_stream(target: Path) -> bool:
    if _descriptor(target) is not None:
        return True
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return False
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return True
    raise OSError(errno.EINVAL, "it is a block device or a socket")


def _write_through(path: Path, target: Path, data: bytes) -> None:
    """Writes to a stream, after what has been written to it, and never truncates it."""
    found = _descriptor(target)
    if found is not None and found["process"] in (None, str(os.getpid())):
        number = os.dup(int(found["number"]))
    else:
        number = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    try:
        with open(number, "wb") as file:  # noqa: PTH123 (it is a descriptor)
            file.write(data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); the output is incomplete") from error


@contextmanager
def folder_in_one_step(path: Path) -> Iterator[Path]:
    """Yields a temporary folder that is renamed to `path` if the block succeeds and removed if not.

    Raises:
        BadInputError: `path` exists and is not an empty folder.
        StorageError: it cannot be written, or the disk is full.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadInputError(f"{path}: already in use; name a new folder")
    temporary = None
    try:
        # A link stays; "." and ".." are resolved, because nothing can be renamed to them.
        target = _link_target(path) if path.name not in ("", "..") else Path(os.path.realpath(path))
        temporary = _temporary_path(target)
        make_folder(temporary)
        yield temporary
        if is_private(path):
            restrict_access(temporary)
        for entry in (*temporary.rglob("*"), temporary):
            sync(entry)
        temporary.replace(target)
        sync(target.parent)
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path, *, makes_folder: bool = True) -> None:
    """Checks before long work that `write_atomically(path, ...)` can succeed; opens no stream (see `is_stream`).

    Args:
        path: the file.
        makes_folder: make the folder of the file if it is missing; otherwise that is an error.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        target = _link_target(path)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "it is write-protected")
        if _is_stream(target):
            target.stat()  # raises for a descriptor that is not open
            return
        if not makes_folder and not target.parent.exists():
            raise StorageError(
                f"{path}: cannot be written (no such folder: {target.parent}); nothing was changed; make the folder "
                "first, or name another path"
            )
        make_folder(target.parent)
        probe = _temporary_path(target)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error to raise when `path` could not be written: names the file, the reason and the remedy."""
    remedy = "free some space" if error.errno == errno.ENOSPC else "choose a folder that you can write to"
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed; {remedy}")


def cannot_read(path: Path, error: OSError) -> StorageError:
    """The error to raise when `path` exists and could not be read, which does not mean that it is damaged."""
    return StorageError(
        f"{path}: cannot be read ({error.strerror or error}); nothing was changed. Check its permissions and the disk, "
        "then try again"
    )


def sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's renames, survive a power cut (files only on Windows).

    Raises:
        OSError: it cannot be opened.
    """
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
