"""Encodings of a tensor, as `editing.vector_file` lists them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.sparsify import Array

MAX_CODE = 127  # the largest code with eight bits
MAX_NIBBLE = 7  # the largest code with four bits
# Entries beyond one of these fractions of the largest entry of their row are clipped to it, so that the other entries
# get smaller steps and are rounded less. `rounded` takes the fraction with the smallest squared error for each row.
CLIPPINGS = tuple(map(np.float32, (1.0, 0.8, 0.65)))
# The largest rounding error of four bits, as a fraction of the tensor's norm; above it, the tensor gets eight bits.
MAX_ROUNDING = 0.15
BLOCK = 1 << 20  # entries processed at a time by `blocks`; a multiple of 8
WRONG_COUNT = "its mask selects another number of entries than there are codes"


def encode(tensor: Array) -> dict[str, NDArray[Any]]:
    """Finds the smallest encoding of a tensor of any shape.

    Returns:
        The parts of the encoding by name ("whole", "mask", "codes", "nibbles", "scale"); none if the tensor has two or
        more dimensions and all its entries are zero.
    """
    if tensor.ndim < 2 or not tensor.size:
        return {"whole": np.asarray(tensor, np.float32, order="C")}
    rows = tensor.reshape(len(tensor), -1)
    found = _exact_nibbles(rows)
    has_nibbles = found is not None
    codes, scales = found or _quantised(rows, MAX_CODE)
    kept = codes != 0
    count = int(np.count_nonzero(kept))
    if not count:
        return {}
    bits = 4 if has_nibbles else 8
    parts: dict[str, NDArray[Any]] = {"scale": scales}
    if bits * count + codes.size < bits * codes.size:
        parts["mask"], codes = np.packbits(kept), codes[kept]
    else:
        codes = codes.reshape(tensor.shape)
    return parts | ({"nibbles": _packed(codes)} if has_nibbles else {"codes": codes})


def rounded(tensor: Array) -> Array:
    """A tensor as a file stores it: with codes of four bits, or of eight if four change it by more than MAX_ROUNDING.

    Vectors and scalars do not change.
    """
    if tensor.ndim < 2 or not tensor.any():
        return tensor
    rows = tensor.reshape(len(tensor), -1)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    units = rows / np.where(largest > 0, largest, np.float32(1))  # squares of the entries themselves may overflow
    four_bit, errors = np.zeros_like(rows), np.full(len(rows), np.inf, np.float32)  # values; squared errors in units
    for clipping in CLIPPINGS:
        codes, scales = _quantised(np.clip(rows, -clipping * largest, clipping * largest), MAX_NIBBLE)
        difference = codes.astype(np.float32)
        difference *= clipping / MAX_NIBBLE
        difference -= units
        error = np.einsum("ij,ij->i", difference, difference)
        better = error < errors
        four_bit[better], errors[better] = (codes.astype(np.float32) * scales[:, None])[better], error[better]
    squares = np.square(largest[:, 0].astype(np.float64))
    if squares @ errors <= MAX_ROUNDING**2 * (squares @ np.einsum("ij,ij->i", units, units)):
        return four_bit.reshape(tensor.shape)
    return decode(encode(tensor), tensor.shape)


def _quantised(rows: Array, largest: int) -> tuple[NDArray[np.int8], Array]:
    """Codes from -largest to largest and the scale of each row."""
    scales = (np.abs(rows).max(axis=1, initial=0) / np.float32(largest)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 0
    divisors = np.where(scales > 0, scales, np.float32(1))
    codes = np.clip(np.rint(rows / divisors[:, None]), -largest, largest).astype(np.int8)
    codes[scales == 0] = 0
    return codes, scales


def _exact_nibbles(rows: Array) -> tuple[NDArray[np.int8], Array] | None:
    """Codes of four bits and scales that give exactly these values; None if there are none."""
    codes, scales = _quantised(rows, MAX_NIBBLE)
    unmatched = _without_match(rows, codes, scales, np.arange(len(rows)))
    if len(unmatched) == len(rows):  # no row matches: the values have more than four bits
        return None
    for largest in range(MAX_NIBBLE - 1, 0, -1):  # of rows that lost their largest entries
        if not len(unmatched):
            break
        codes[unmatched], scales[unmatched] = _quantised(rows[unmatched], largest)
        unmatched = _without_match(rows, codes, scales, unmatched)
    return None if len(unmatched) else (codes, scales)


def _without_match(rows: Array, codes: NDArray[np.int8], scales: Array, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of the rows with these indices, those whose values are not exactly codes times scale; corrects their scales."""
    # The largest entry was rounded when its code was multiplied, so the scale may be the next number on either side.
    below, above = np.nextafter(scales, np.float32(0)), np.nextafter(scales, np.float32(np.inf))
    for candidates in (scales.copy(), below, above):
        with np.errstate(over="ignore"):
            wrong = (codes[indices].astype(np.float32) * candidates[indices, None] != rows[indices]).any(axis=1)
        scales[indices] = candidates[indices]
        indices = indices[wrong]
        if not len(indices):
            break
    return indices


def _packed(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two codes to a byte, (codes,) -> ((codes + 1) // 2,), as `editing.vector_file` describes."""
    shifted = np.zeros(codes.size + codes.size % 2, np.uint8)
    shifted[: codes.size] = codes.reshape(-1) + (MAX_NIBBLE + 1)
    return (shifted[0::2] | shifted[1::2] << 4).astype(np.uint8)


def _unpacked(parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.int8]:
    """The codes of a tensor with `size` entries: (codes,), of all entries or of those that the mask selects.

    Raises:
        ValueError: the mask selects another number of entries than there are nibbles.
    """
    if "codes" in parts:
        return parts["codes"].reshape(-1)
    pairs = parts["nibbles"]
    count = int(np.bitwise_count(parts["mask"]).sum()) if "mask" in parts else size
    if len(pairs) != (count + 1) // 2:
        raise ValueError(WRONG_COUNT)
    codes = np.empty(2 * len(pairs), np.int8)
    codes[0::2], codes[1::2] = pairs & 15, pairs >> 4
    return codes[:count] - np.int8(MAX_NIBBLE + 1)


def check_encoding(parts: Mapping[str, tuple[str, tuple[int, ...]]], shape: tuple[int, ...]) -> None:
    """Checks the declared type and shape of each part of a tensor against the tensor's shape.

    Args:
        parts: type, as safetensors names it, and shape of each part, by the part's name.
        shape: the shape of the tensor in the record.

    Raises:
        ValueError: the parts do not encode a tensor of this shape.
    """
    size = math.prod(shape)
    if not parts:
        return
    if "whole" in parts:
        if len(parts) > 1 or parts["whole"] != ("F32", shape):
            raise ValueError("it is not float32 of the shape in the record")
        return
    if "scale" not in parts or len(parts.keys() & {"codes", "nibbles"}) != 1:
        raise ValueError("it lacks its codes or its scales")
    has_nibbles = "nibbles" in parts
    codes_type, codes_shape = parts["nibbles" if has_nibbles else "codes"]
    if codes_type != ("U8" if has_nibbles else "I8") or not shape or not size or parts["scale"] != ("F32", shape[:1]):
        raise ValueError("its codes and scales are not int8 and a float32 for each row")
    if "mask" not in parts:
        if math.prod(codes_shape) != ((size + 1) // 2 if has_nibbles else size):
            raise ValueError("its number of entries is not that of the shape in the record")
        return
    if parts["mask"] != ("U8", ((size + 7) // 8,)):
        raise ValueError("its mask is not a bit for each entry")
    if len(codes_shape) != 1 or codes_shape[0] > size:
        raise ValueError(WRONG_COUNT)


def decode(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Array:
    """Decodes a tensor from parts that have passed `check_encoding`.

    Raises:
        ValueError: the scales are not finite, or the mask selects another number of entries than there are codes.
    """
    size = math.prod(shape)
    if not parts:
        return np.zeros(shape, np.float32)
    if "whole" in parts:
        whole: Array = parts["whole"]
        return whole
    codes, scales = _unpacked(parts, size), _checked_scales(parts["scale"])
    if "mask" in parts:
        kept = np.unpackbits(parts["mask"], count=size).view(np.bool_)
        if codes.shape != (np.count_nonzero(kept),):
            raise ValueError(WRONG_COUNT)
        codes_of_all = np.zeros(size, np.int8)
        codes_of_all[kept] = codes
        codes = codes_of_all
    rows = codes.reshape(shape[0], -1).astype(np.float32)
    with np.errstate(over="ignore"):  # the caller checks for infinity
        rows *= scales[:, None]
    return rows.reshape(shape)


def blocks(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Iterator[Array]:
    """Decodes the entries of a tensor in order, in blocks (entries,) of at most `BLOCK`; zeros may be left out.

    Raises:
        ValueError: as `decode`.
    """
    if not parts:
        return
    if "whole" in parts:
        whole = parts["whole"].reshape(-1)
        yield from (whole[start : start + BLOCK] for start in range(0, len(whole), BLOCK))
        return
    size = math.prod(shape)
    codes, scales = _unpacked(parts, size), _checked_scales(parts["scale"])
    row_length = size // shape[0]
    done = 0
    for start in range(0, size, BLOCK):
        if "mask" in parts:
            bits = np.unpackbits(parts["mask"][start // 8 : (start + BLOCK) // 8], count=min(BLOCK, size - start))
            indices = np.flatnonzero(bits) + start
        else:
            indices = np.arange(start, min(start + BLOCK, size))
        block = codes[done : done + len(indices)].astype(np.float32)
        done += len(indices)
        if len(block) < len(indices):
            raise ValueError(WRONG_COUNT)
        with np.errstate(over="ignore"):  # the caller checks for infinity
            yield block * scales[indices // row_length]
    if done != len(codes):
        raise ValueError(WRONG_COUNT)


def _checked_scales(scales: Array) -> Array:
    if not np.isfinite(scales).all():
        raise ValueError("its scales are not finite")
    return scales
