"""Keeps libmpg123's messages off the terminal; it prints to standard error, and libsndfile has no option against it."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

STDERR = 2
MESSAGE = re.compile(rb"libmpg123|^(Note|Warning): |Frankenstein|^\s*$")

_lock = threading.RLock()


@cache
def _file() -> IO[bytes]:
    return tempfile.TemporaryFile(buffering=0)  # for the life of the process


@contextmanager
def without_mpg123_messages() -> Iterator[None]:
    """Drops what libmpg123 prints meanwhile; other lines, such as another thread's, are printed afterwards.

    Use it around a single call: standard error belongs to the whole process.
    """
    with _lock:
        try:
            original = os.dup(STDERR)
        except OSError:  # it is closed
            yield
            return
        try:
            file = _file()
            os.dup2(file.fileno(), STDERR)
            try:
                yield
            finally:
                os.dup2(original, STDERR)
                _forward(file)
        finally:
            os.close(original)


def _forward(file: IO[bytes]) -> None:
    if not os.fstat(file.fileno()).st_size:
        return
    file.seek(0)
    lines = [line for line in file.read().splitlines(keepends=True) if not MESSAGE.search(line)]
    file.seek(0)
    file.truncate()
    if lines:
        os.write(STDERR, b"".join(lines))
