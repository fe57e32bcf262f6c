"""Downloads from the Hugging Face hub, through its own client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from editing.errors import BadInputError, NetworkError


def download(repository: str, patterns: Sequence[str], remedy: str) -> Path:
    """Downloads files of a model into the hub's cache, unless they are there; returns their folder.

    Args:
        repository: name on the hub, `owner/name`.
        patterns: file name patterns.
        remedy: what to do if the download fails; part of the error message.

    Raises:
        BadInputError: `repository` is not a valid name.
        NetworkError: the hub cannot be reached or has no such model, and it is not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise BadInputError(f"{repository}: neither a folder nor a name on the Hugging Face hub") from error
    except Exception as error:  # the client raises its own, httpx's and builtin exceptions
        raise NetworkError(
            f"{repository}: the Hugging Face hub cannot be reached or lacks it ({type(error).__name__}). {remedy}"
        ) from error
