"""File uploads: bodies that are streamed to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from editing.privacy import make_folder
from trainer.host.serving.disk import DiskReserve

BUFFER_BYTES = 1 << 20  # that are collected before each write


async def append_body(
    request: Request,
    path: Path,
    limit: int,
    idle_timeout_s: float,
    disk: DiskReserve,
    is_wanted: Callable[[], Awaitable[bool]],
) -> int:
    """Appends a request's body to a file. If the connection is lost, the bytes received so far are kept.

    Args:
        request: whose body is read.
        path: the file; created if missing.
        limit: the most bytes that are accepted.
        idle_timeout_s: the upload fails after this long without data.
        disk: the disk of the file; its reserve stays free.
        is_wanted: called at each chunk and each write. Once it returns False, the upload ends, and bytes that are not
            written yet are discarded.

    Returns:
        The number of bytes appended.

    Raises:
        HTTPException: the body exceeds the limit (413), no data arrived in time (408), or `is_wanted` is False (409).
        StorageError: the disk is full; the file may have a part of the body.
    """
    await run_in_threadpool(make_folder, path.parent)
    await run_in_threadpool(path.touch, 0o600)
    added = 0
    buffer = bytearray()
    stream = request.stream()

    async def flush() -> None:
        nonlocal added
        if buffer and await is_wanted():
            await run_in_threadpool(_append, path, bytes(buffer), disk)
            added += len(buffer)
        buffer.clear()

    try:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream), idle_timeout_s)
            except StopAsyncIteration:
                break
            if not await is_wanted():
                raise HTTPException(409, "the upload was cancelled")
            if added + len(buffer) + len(chunk) > limit:
                raise HTTPException(413, "the body is larger than announced")
            buffer += chunk
            if len(buffer) >= BUFFER_BYTES:
                await flush()
    except TimeoutError:
        raise HTTPException(408, f"no data for {idle_timeout_s:g} s") from None
    except ClientDisconnect:
        pass
    finally:
        await flush()
    return added


def _append(path: Path, data: bytes, disk: DiskReserve) -> None:
    disk.require(len(data))
    with path.open("r+b") as file:  # not "ab": a file that was removed meanwhile must not appear again
        file.seek(0, 2)
        file.write(data)
