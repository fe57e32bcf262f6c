"""The names of dataset formats, which the command line needs before anything else."""

from enum import StrEnum


class DatasetFormat(StrEnum):
    """Formats of `asr-edge dataset export`."""

    NEMO = "nemo"
    AUDIOFOLDER = "audiofolder"
