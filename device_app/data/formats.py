"""The names of dataset formats, in a module of their own because the command line always imports them."""

from enum import StrEnum


class DatasetFormat(StrEnum):
    """Formats of `asr-edge dataset export`."""

    NEMO = "nemo"
    AUDIOFOLDER = "audiofolder"
