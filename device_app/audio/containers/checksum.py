"""Cyclic redundancy checks of FLAC and Ogg: most significant bit first, initial value 0. (zlib's are reflected.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator


def checksum(bits: int, polynomial: int) -> Callable[[bytes], int]:
    """Makes the function that computes a checksum.

    Args:
        bits: width of the checksum, at least 8.
        polynomial: its coefficients as bits, without the highest term.
    """
    mask = (1 << bits) - 1
    table = _table(bits, polynomial)

    def compute(data: bytes) -> int:
        crc = 0
        for byte in data:
            crc = (crc << 8 & mask) ^ table[crc >> (bits - 8) ^ byte]
        return crc

    return compute


def zero_suffixes(polynomial: int) -> Callable[[bytes], Iterator[int]]:
    """Makes the function that finds where in its input a message may begin that ends with its own checksum of 16 bits.

    The function yields each offset, from the last to the first, from which the checksum of all that follows is 0. It
    takes time in proportion to the length of the input; one checksum for each offset would take the square of that.

    Args:
        polynomial: its coefficients as bits, without the highest term; the lowest is 1.
    """
    table = _table(16, polynomial)
    # The entries differ in their low bytes, so the low byte of a checksum gives the entry of the last step.
    by_low_byte = {entry & 0xFF: index for index, entry in enumerate(table)}

    def find(data: bytes) -> Iterator[int]:
        before = [0]  # the checksum of what precedes each offset
        for byte in data:
            before.append((before[-1] << 8 & 0xFFFF) ^ table[before[-1] >> 8 ^ byte])
        # Checksums are linear: that of a suffix is 0 if zeros in its place give the same checksum of the whole. Each
        # step takes back one zero.
        needed = before[-1]
        for at in reversed(range(len(data))):
            index = by_low_byte[needed & 0xFF]
            needed = index << 8 | (needed ^ table[index]) >> 8
            if before[at] == needed:
                yield at

    return find


def _table(bits: int, polynomial: int) -> list[int]:
    """The checksum of each byte."""
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & mask
        table.append(crc)
    return table
