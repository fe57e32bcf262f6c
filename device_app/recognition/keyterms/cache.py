"""Stores the token index of a long list of terms in the data folder, so that it loads fast the next time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_app.data.terms import Term
from device_app.paths import data_folder
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.keyterms.terms import Keyterms
from device_app.recognition.keyterms.token_index import SEPARATOR, TokenIndex
from editing.errors import StorageError
from editing.files import write_atomically

FOLDER = "terms-cache"
VERSION = b"2"  # to be increased when a change of this code gives the same terms and tokenizer another index
MIN_TERMS = 500  # for a shorter list, computing the index takes no longer than reading it
FILES = 4  # the number of files to keep, the latest ones
MAX_BYTES = 64 << 20  # of a file; a larger one is not read

Names = Callable[[], Sequence[str | None]]  # a function, because it is not called if the index is in a file


def term_graph(terms: Sequence[Term | str], tokenizer_hash: str | None, names: Names) -> TermGraph:
    """Makes the graph of a list of terms, with the index that an earlier process has stored, if there is one.

    If the file is damaged or cannot be written, the index is computed.

    Args:
        terms: the terms to prefer.
        tokenizer_hash: SHA-256 of the tokenizer; None keeps no file.
        names: returns the text of each of its tokens, as `TermGraph` takes them.

    Raises:
        BadInputError: one of the terms is not valid.
    """
    keyterms = Keyterms(terms)
    if len(keyterms) < MIN_TERMS or tokenizer_hash is None:
        return TermGraph(keyterms, names())
    key = hashlib.sha256(b"\0".join([VERSION, tokenizer_hash.encode(), keyterms.identity])).hexdigest()
    path = data_folder() / FOLDER / f"{key}.safetensors"
    index = _read(path)
    if index is None:
        index = TokenIndex.of(keyterms, names())
        with suppress(StorageError, OSError):  # it only saves time
            _write(path, index)
    return TermGraph(keyterms, (), index)


def _read(path: Path) -> TokenIndex | None:
    """The index in a file; None if there is none, or it is not one that `_write` has written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        arrays = load(path.read_bytes())
        texts = arrays.pop("texts").tobytes().decode().split(SEPARATOR)
        index = TokenIndex(texts=texts, **arrays)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    return index if _is_sound(index) else None


def _is_sound(index: TokenIndex) -> bool:
    """Whether all numbers are in range, so that a damaged file raises no error while decoding."""
    texts, vocabulary, tokens = len(index.texts), len(index.kinds), index.tokens
    offsets = index.offsets
    return (
        all(one.ndim == 1 for one in (offsets, tokens, index.kinds, index.openers))
        and len(offsets) == texts + 1
        and _is_within(offsets, len(tokens) + 1)
        and bool((np.diff(offsets) > 0).all())
        and (offsets[0], offsets[-1]) == (0, len(tokens))
        and all(_is_within(one, vocabulary) for one in (tokens, index.openers))
        and _is_within(index.kinds, 2)
        and _are_bonuses(index.new_words, index.new_word_bonuses, vocabulary, texts)
        and _are_bonuses(index.first_letters, index.first_letter_bonuses, vocabulary, texts)
    )


def _are_bonuses(pairs: NDArray[np.int64], bonuses: NDArray[np.float32], vocabulary: int, texts: int) -> bool:
    """Whether `pairs` are (n, 2) of a token and the index of a text, and `bonuses` are (n,) finite numbers.

    `vocabulary` and `texts` are the numbers of tokens and of texts.
    """
    return (
        pairs.shape == (len(pairs), 2)
        and _is_within(pairs[:, 0], vocabulary)
        and _is_within(pairs[:, 1], texts)
        and bonuses.shape == (len(pairs),)
        and bonuses.dtype == np.float32
        and bool(np.isfinite(bonuses).all())
    )


def _is_within(numbers: NDArray[np.int64], end: int) -> bool:
    """Whether all numbers are integers from 0 to below `end`."""
    return numbers.dtype == np.int64 and (not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < end))


def _write(path: Path, index: TokenIndex) -> None:
    """Writes an index, and removes all but the latest `FILES` files."""
    from safetensors.numpy import save

    arrays = {one.name: getattr(index, one.name) for one in fields(index) if one.name != "texts"}
    arrays["texts"] = np.frombuffer(SEPARATOR.join(index.texts).encode(), np.uint8)
    write_atomically(path, save(arrays), private=True)
    older = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)[:-FILES]
    for file in older:
        file.unlink(missing_ok=True)
