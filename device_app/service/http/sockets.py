"""Settings of TLS and of the process for servers."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable

import uvicorn

OPEN_FILES = 8192  # the usual limit of 1024 is fewer than connections, databases and uploads need


def only_tls_1_3(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """An SSL context for uvicorn that refuses anything below TLS 1.3, which all devices use."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def raise_open_files() -> None:
    """Raises the limit of open files of this process to `OPEN_FILES`, if the system allows it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
