"""Checksums, and where a message can begin that ends with its own."""

import numpy as np
import pytest

from device_app.audio.containers.checksum import checksum, zero_suffixes

POLYNOMIAL = 0x8005
crc16, suffixes = checksum(16, POLYNOMIAL), zero_suffixes(POLYNOMIAL)


@pytest.mark.parametrize("seed", range(5))
def test_a_suffix_that_ends_with_its_checksum_is_found(seed):
    rng = np.random.default_rng(seed)
    before, message = (rng.integers(0, 256, size, np.uint8).tobytes() for size in rng.integers(1, 300, 2))
    data = before + message + crc16(message).to_bytes(2, "big")
    assert list(suffixes(data)) == [at for at in reversed(range(len(data))) if crc16(data[at:]) == 0]
    assert len(before) in suffixes(data)


def test_nothing_is_found_in_nothing():
    assert list(suffixes(b"")) == []
