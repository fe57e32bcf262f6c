"""The Hugging Face hub, through its own client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from editing.errors import BadInputError, NetworkError


def download(repository: str, patterns: Sequence[str], remedy: str) -> Path:
    """The folder of a model's files in the hub's cache, fetched where they are not there yet.

    Args:
        repository: its name on the hub, `owner/name`.
        patterns: of the files wanted.
        remedy: what to do where the hub does not give it.

    Raises:
        BadInputError: it is no name of the hub's kind.
        NetworkError: the hub cannot be reached or has no such model, and it is not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise BadInputError(f"{repository}: neither a folder nor a name on the Hugging Face hub") from error
    except Exception as error:  # the hub's client raises its own, httpx's and builtin kinds
        raise NetworkError(
            f"{repository}: the Hugging Face hub cannot be reached or lacks it ({type(error).__name__}). {remedy}"
        ) from error
