"""Cyclic redundancy checks of FLAC and Ogg: most significant bit first, from 0; zlib's are reflected."""

from __future__ import annotations

from collections.abc import Callable


def checksum(bits: int, polynomial: int) -> Callable[[bytes], int]:
    """Makes the function that computes a checksum.

    Args:
        bits: width of the checksum, at least 8.
        polynomial: without its highest term.
    """
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & mask
        table.append(crc)

    def compute(data: bytes) -> int:
        crc = 0
        for byte in data:
            crc = (crc << 8 & mask) ^ table[crc >> (bits - 8) ^ byte]
        return crc

    return compute
