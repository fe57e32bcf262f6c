"""Encodings of a tensor, as `editing.vector_file` lists them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.sparsify import Array

MAX_CODE = 127
MAX_NIBBLE = 7  # the largest code with four bits
# Of the largest entry of a row: with smaller steps, few entries are clipped and all others are rounded less. The one
# with the smallest squared error is taken for each row.
CLIPPINGS = tuple(map(np.float32, (1.0, 0.8, 0.65)))
MAX_ROUNDING = 0.15  # of a tensor's norm: a tensor that four bits change more is stored in eight
BLOCK = 1 << 20  # entries processed at a time by `blocks`; a multiple of 8
WRONG_COUNT = "its mask selects another number of entries than there are codes"


def encode(tensor: Array) -> tuple[dict[str, NDArray[Any]], tuple[int, ...]]:
    """Finds the smallest encoding of a tensor of any shape.

    Returns:
        The parts of the encoding by name, none if all entries are zero; and the shape of the tensor.
    """
    if tensor.ndim < 2 or not tensor.size:
        return {"whole": np.asarray(tensor, np.float32, order="C")}, tensor.shape
    rows = tensor.reshape(len(tensor), -1)
    found = _exact_nibbles(rows)
    is_coarse = found is not None
    codes, scales = found or _quantised(rows, MAX_CODE)
    kept = codes != 0
    count = int(np.count_nonzero(kept))
    if not count:
        return {}, tensor.shape
    bits = 4 if is_coarse else 8
    parts: dict[str, NDArray[Any]] = {"scale": scales}
    if bits * count + codes.size < bits * codes.size:
        parts["mask"], codes = np.packbits(kept), codes[kept]
    else:
        codes = codes.reshape(tensor.shape)
    return parts | ({"nibbles": _packed(codes)} if is_coarse else {"codes": codes}), tensor.shape


def rounded(tensor: Array) -> Array:
    """A tensor as a file stores it: with codes of four bits, or of eight if four change it by more than MAX_ROUNDING.

    Vectors and scalars do not change.
    """
    if tensor.ndim < 2 or not tensor.any():
        return tensor
    rows = tensor.reshape(len(tensor), -1)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    units = rows / np.where(largest > 0, largest, np.float32(1))  # squares of the entries themselves may overflow
    coarse, errors = np.zeros_like(rows), np.full(len(rows), np.inf, np.float32)
    for clipping in CLIPPINGS:
        codes, scales = _quantised(np.clip(rows, -clipping * largest, clipping * largest), MAX_NIBBLE)
        difference = codes.astype(np.float32)
        difference *= clipping / MAX_NIBBLE
        difference -= units
        error = np.einsum("ij,ij->i", difference, difference)
        better = error < errors
        coarse[better], errors[better] = (codes.astype(np.float32) * scales[:, None])[better], error[better]
    squares = np.square(largest[:, 0].astype(np.float64))
    if squares @ errors <= MAX_ROUNDING**2 * (squares @ np.einsum("ij,ij->i", units, units)):
        return coarse.reshape(tensor.shape)
    return decode(*encode(tensor))


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
    # The largest entry was rounded when its code was multiplied, so the scale may be the next number on either side.
    below, above = np.nextafter(scales, np.float32(0)), np.nextafter(scales, np.float32(np.inf))
    left = np.arange(len(rows))
    for candidates in (scales.copy(), below, above):
        with np.errstate(over="ignore"):
            wrong = (codes[left].astype(np.float32) * candidates[left, None] != rows[left]).any(axis=1)
        scales[left] = candidates[left]
        left = left[wrong]
        if not len(left):
            return codes, scales
        if len(left) == len(rows):  # not even one row: values of more than four bits
            return None
    return None


def _packed(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two codes to a byte."""
    shifted = np.zeros(codes.size + codes.size % 2, np.uint8)
    shifted[: codes.size] = codes.reshape(-1) + (MAX_NIBBLE + 1)
    return (shifted[0::2] | shifted[1::2] << 4).astype(np.uint8)


def _unpacked(parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.int8]:
    """The codes of a tensor of this size: (codes,).

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
    is_packed = "nibbles" in parts
    codes_type, codes_shape = parts["nibbles" if is_packed else "codes"]
    if codes_type != ("U8" if is_packed else "I8") or not shape or not size or parts["scale"] != ("F32", shape[:1]):
        raise ValueError("its codes and scales are not int8 and a float32 for each row")
    if "mask" not in parts:
        if math.prod(codes_shape) != ((size + 1) // 2 if is_packed else size):
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
        every = np.zeros(size, np.int8)
        every[kept] = codes
        codes = every
    rows = codes.reshape(shape[0], -1).astype(np.float32)
    with np.errstate(over="ignore"):  # the caller checks for infinity
        rows *= scales[:, None]
    return rows.reshape(shape)


def blocks(parts: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Iterator[Array]:
    """Decodes the entries of a tensor in order, in blocks of bounded size; zeros may be left out.

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
