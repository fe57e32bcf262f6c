"""Task vectors that 767e81d wrote: every form of a tensor, every entry of the record."""

import json
import struct

import pytest

from tests.frozen import access
from tests.frozen.measure import digest

NAMES = ("dense", "trimmed", "of-the-group-0", "of-the-group-1", "of-the-group-2")
RECORD = ("family", "base", "domain", "created", "utterances", "seconds", "method", "density", "scores")


def header(path):
    """What is in a safetensors file, by hand."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found = json.loads(data[8 : 8 + size])
    return json.loads(found.pop("__metadata__")["asr-edge"]), found


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_with_all_that_it_says(data, name, expected):
    record, stored = header(data / "vectors" / f"{name}.safetensors")
    tensors, origin = access.task_vector(data / "vectors" / f"{name}.safetensors")
    assert digest(tensors) == expected["vectors"][f"{name}.safetensors"]
    assert origin == {key: record[key] for key in RECORD}
    assert {tensor: list(values.shape) for tensor, values in tensors.items()} == record["shapes"]
    assert record["format_version"] == 1
    assert stored


def test_the_frozen_files_hold_every_form_and_every_score(data):
    forms, scores, trimmed = set(), set(), 0
    for name in NAMES:
        record, stored = header(data / "vectors" / f"{name}.safetensors")
        for tensor in record["shapes"]:
            forms.add(" ".join(sorted(part.split("/")[0] for part in stored if part.endswith(f"/{tensor}"))))
        scores |= record["scores"].keys()
        trimmed += record["density"] < 1
    assert forms == {"whole", "codes scale", "codes mask scale", ""}
    assert scores >= {"before", "after", "canary_before", "canary_after", "canary", "cities", "sense"}
    assert trimmed >= 3
