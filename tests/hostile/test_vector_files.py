"""Task vectors' files from a hostile hand: one line each, and no more memory than the file's size suggests."""

import itertools
import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import TaskVectorError, WrongBaseError
from editing.task_vector import RECORD, Origin, TaskVector, check_file, read_origin, summarise
from tests.command_line import call

BASE = "ab" * 32
ORIGIN = asdict(Origin("moonshine", BASE, "kitchen", "2025-11-03T10:00:00+00:00", 3, 9.5, scores={"kitchen": 0.25}))
SHAPES = {"a.weight": (4, 8), "a.bias": (4,)}
SLACK = 4 << 20  # bytes: a block of entries, and what Python needs to tell what is wrong

TYPES = {"F32": np.float32, "I8": np.int8, "U8": np.uint8, "F64": np.float64}


def safetensors(header, data=b""):
    """A file's bytes, from a header as it is to stand there."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def vector_file(tensors=(), record=None, text=None):
    """A task vector's file that says what the test wants, true or not.

    Args:
        tensors: (key, type, shape, bytes), in order.
        record: changes of a good record; None removes a key.
        text: instead of the record.
    """
    if text is None:
        whole = {"format_version": 1, **ORIGIN, "shapes": {}, **(record or {})}
        text = json.dumps({key: value for key, value in whole.items() if value is not None})
    header, start = {"__metadata__": {RECORD: text}}, 0
    for key, kind, shape, data in tensors:
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + len(data)]}
        start += len(data)
    return safetensors(header, b"".join(data for *_, data in tensors))


def codes(name, shape, *, mask=None, count=None, scale=None):
    """The parts of a tensor, of the sizes that are asked for."""
    size = int(np.prod(shape))
    parts = [
        (f"codes/{name}", "I8", [size if count is None else count], bytes([1]) * (size if count is None else count))
    ]
    if mask is not None:
        parts.append((f"mask/{name}", "U8", [len(mask)], mask))
    scales = np.full(shape[0], 0.5, np.float32) if scale is None else np.asarray(scale, np.float32)
    return [*parts, (f"scale/{name}", "F32", [len(scales)], scales.tobytes())]


def nibbles(name, shape, *, mask=None, count=None):
    """The same with two codes of four bits in each byte; `count` is of bytes."""
    size = (int(np.prod(shape)) + 1) // 2 if count is None else count
    return [(f"nibbles/{name}", "U8", [size], bytes([0x99]) * size), *codes(name, shape, mask=mask)[1:]]


def record_text(replaced, by):
    """A good record's text, in which one value is written otherwise than json.dumps would."""
    return json.dumps({"format_version": 1, **ORIGIN, "shapes": {}}).replace(replaced, by)


WEIGHT = {"a.weight": [4, 8]}
BAD = {
    # What it claims to have
    "8 G entries in 360 bytes": vector_file(record={"shapes": {"a.weight": [1 << 33, 2]}}),
    "many zeros": vector_file(record={"shapes": {f"t{n}": [1 << 32] for n in range(3)}}),
    "dimensions past int64": vector_file(record={"shapes": {"a.weight": [1 << 40] * 60}}),
    "none of very many": vector_file(record={"shapes": {"a.weight": [0, 1 << 40, 1 << 40]}}),
    "a dimension past int64": vector_file(record={"shapes": {"a.weight": [1 << 63]}}),
    "a dimension of 4000 digits": vector_file(record={"shapes": {"a.weight": [10**4000]}}),
    "a dimension of 5000 digits": vector_file(text=record_text('"shapes": {}', f'"shapes": {{"a": [{"9" * 5000}]}}')),
    "65 dimensions": vector_file(record={"shapes": {"a.weight": [1] * 65}}),
    "100,000 dimensions": vector_file(record={"shapes": {"a.weight": [1] * 100_000}}),
    "negative": vector_file(record={"shapes": {"a.weight": [-4, -8]}}),
    "bool": vector_file(record={"shapes": {"a.weight": [True, 8]}}),
    "float": vector_file(record={"shapes": {"a.weight": [4.0, 8]}}),
    "string": vector_file(record={"shapes": {"a.weight": ["4", 8]}}),
    "null": vector_file(text=record_text('"shapes": {}', '"shapes": {"a.weight": [null]}')),
    "nested": vector_file(record={"shapes": {"a.weight": [[4], [8]]}}),
    "shape is text": vector_file(record={"shapes": {"a.weight": "48"}}),
    "shapes are a list": vector_file(record={"shapes": [[4, 8]]}),
    "550,000 scalars": lambda: vector_file(record={"shapes": {f"t{n}": [] for n in range(550_000)}}),
    "550,000 empty tensors": lambda: vector_file(record={"shapes": {f"t{n}": [0] for n in range(550_000)}}),
    # What it has
    "mask keeps more": vector_file(codes("a.weight", (4, 8), mask=b"\xff" * 4, count=31), {"shapes": WEIGHT}),
    "mask keeps fewer": vector_file(codes("a.weight", (4, 8), mask=b"\xf0" * 4, count=17), {"shapes": WEIGHT}),
    "mask too short": vector_file(codes("a.weight", (4, 8), mask=b"\xff" * 3, count=24), {"shapes": WEIGHT}),
    "mask too long": vector_file(codes("a.weight", (4, 8), mask=b"\xff" * 5, count=32), {"shapes": WEIGHT}),
    "too few codes": vector_file(codes("a.weight", (4, 8), count=31), {"shapes": WEIGHT}),
    "too many codes": vector_file(codes("a.weight", (4, 8), count=33), {"shapes": WEIGHT}),
    "too few scales": vector_file(codes("a.weight", (4, 8), scale=[1.0] * 3), {"shapes": WEIGHT}),
    "too few nibbles": vector_file(nibbles("a.weight", (4, 8), count=15), {"shapes": WEIGHT}),
    "too many nibbles": vector_file(nibbles("a.weight", (4, 8), count=17), {"shapes": WEIGHT}),
    "mask keeps more than nibbles": vector_file(
        nibbles("a.weight", (4, 8), mask=b"\xff" * 4, count=15), {"shapes": WEIGHT}
    ),
    "mask keeps fewer than nibbles": vector_file(
        nibbles("a.weight", (4, 8), mask=b"\xf0" * 4, count=9), {"shapes": WEIGHT}
    ),
    "codes and nibbles": vector_file(
        [*codes("a.weight", (4, 8)), *nibbles("a.weight", (4, 8))[:1]], {"shapes": WEIGHT}
    ),
    "nibbles of int8": vector_file(
        [("nibbles/a.weight", "I8", [16], bytes(16)), *codes("a.weight", (4, 8))[1:]], {"shapes": WEIGHT}
    ),
    "nibbles without scale": vector_file(nibbles("a.weight", (4, 8))[:1], {"shapes": WEIGHT}),
    "infinite scale": vector_file(codes("a.weight", (4, 8), scale=[np.inf] * 4), {"shapes": WEIGHT}),
    "NaN scale": vector_file(codes("a.weight", (4, 8), scale=[np.nan] * 4), {"shapes": WEIGHT}),
    "scale beyond float32": vector_file(
        [("codes/a.weight", "I8", [4, 8], b"\x7f" * 32), *codes("a.weight", (4, 8), scale=[3e38] * 4)[1:]],
        {"shapes": WEIGHT},
    ),
    "codes of a scalar": vector_file(
        [("codes/s", "I8", [], b"\x01"), ("scale/s", "F32", [], bytes(4))], {"shapes": {"s": []}}
    ),
    "codes of an empty tensor": vector_file(
        [("codes/s", "I8", [0], b""), ("scale/s", "F32", [0], b"")], {"shapes": {"s": [0, 3]}}
    ),
    "codes of float64": vector_file([("codes/a.weight", "F64", [4, 1], bytes(32))], {"shapes": WEIGHT}),
    "codes without scale": vector_file(codes("a.weight", (4, 8))[:1], {"shapes": WEIGHT}),
    "scale alone": vector_file(codes("a.weight", (4, 8))[1:], {"shapes": WEIGHT}),
    "whole and codes": vector_file(
        [("whole/a.weight", "F32", [4, 8], bytes(128)), *codes("a.weight", (4, 8))], {"shapes": WEIGHT}
    ),
    "whole of float16": vector_file([("whole/a.weight", "F16", [4, 8], bytes(64))], {"shapes": WEIGHT}),
    "whole of bfloat16": vector_file([("whole/a.weight", "BF16", [4, 8], bytes(64))], {"shapes": WEIGHT}),
    "whole of float8": vector_file([("whole/a.weight", "F8_E4M3", [4, 8], bytes(32))], {"shapes": WEIGHT}),
    "whole of another shape": vector_file([("whole/a.weight", "F32", [8, 4], bytes(128))], {"shapes": WEIGHT}),
    "whole NaN": vector_file(
        [("whole/a.weight", "F32", [4, 8], np.full(32, np.nan, np.float32).tobytes())], {"shapes": WEIGHT}
    ),
    "tensor of 70 dimensions": vector_file([("codes/a.weight", "I8", [1] * 70, b"1")], {"shapes": WEIGHT}),
    "tensor that is not named": vector_file([("whole/b\n\x1b[31m", "F32", [1], bytes(4))], {"shapes": {}}),
    # Its header
    "the same tensor twice": safetensors(
        b'{"__metadata__": {"asr-edge": %s}, "whole/a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"whole/a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}'
        % json.dumps(json.dumps({"format_version": 1, **ORIGIN, "shapes": {"a": [2]}})).encode(),
        bytes(12),
    ),
    "metadata twice": safetensors(b'{"__metadata__": {"asr-edge": "{}"}, "__metadata__": {"asr-edge": "{}"}}'),
    "metadata are no texts": safetensors(b'{"__metadata__": {"asr-edge": {"format_version": 1}}}'),
    "header nested 100,000 deep": safetensors(b'{"a":' + b"[" * 100_000),
    "header of 2**63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
    "header of half a surrogate": safetensors(b'{"a\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'),
    "nothing": b"",
    "three bytes": b"abc",
    # Its record
    "record nested 100,000 deep": vector_file(text="[" * 100_000),
    "record nested 100,000 deep inside": vector_file(text=record_text('"shapes": {}', '"shapes": ' + "[" * 100_000)),
    "record of objects 100,000 deep": vector_file(text='{"a":' * 100_000),
    "record is a list": vector_file(text="[]"),
    "record is a number": vector_file(text="1"),
    "record is null": vector_file(text="null"),
    "record is empty": vector_file(text=""),
    "a key twice in the record": vector_file(text=record_text('"shapes": {}', '"shapes": {}, "shapes": {}')),
    "a shape twice": vector_file(text=record_text('"shapes": {}', '"shapes": {"a": [1], "a": [2]}')),
    "no format version": vector_file(record={"format_version": None}),
    "format version true": vector_file(record={"format_version": True}),
    "format version 1.0": vector_file(record={"format_version": 1.0}),
    "format version of 4000 digits": vector_file(record={"format_version": 10**4000}),
    "format version is long and of many lines": vector_file(record={"format_version": "\n\x1b[2J" * 10_000}),
    "utterances of 5000 digits": vector_file(text=record_text('"utterances": 3', f'"utterances": {"9" * 5000}')),
    "utterances of 4000 digits": vector_file(record={"utterances": 10**4000}),
    "utterances true": vector_file(record={"utterances": True}),
    "utterances negative": vector_file(record={"utterances": -1}),
    "utterances 3.0": vector_file(record={"utterances": 3.0}),
    "seconds true": vector_file(record={"seconds": True}),
    "seconds of 4000 digits": vector_file(record={"seconds": 10**4000}),
    "seconds infinite": vector_file(record={"seconds": float("inf")}),
    "seconds 1e308": vector_file(record={"seconds": 1e308}),
    "seconds negative": vector_file(record={"seconds": -1.0}),
    "seconds 1e999": vector_file(text=record_text("9.5", "1e999")),
    "density NaN": vector_file(record={"density": float("nan")}),
    "density text": vector_file(record={"density": "0.5"}),
    "score NaN": vector_file(record={"scores": {"kitchen": float("nan")}}),
    "score infinite": vector_file(record={"scores": {"kitchen": float("-inf")}}),
    "score true": vector_file(record={"scores": {"kitchen": True}}),
    "scores are a list": vector_file(record={"scores": [0.25]}),
    "domain is a number": vector_file(record={"domain": 7}),
    "domain is half a surrogate": vector_file(record={"domain": "\ud83d"}),
    "score of half a surrogate": vector_file(record={"scores": {"\udcff": 0.5}}),
    "base is a list": vector_file(record={"base": [BASE]}),
    "no domain": vector_file(record={"domain": None}),
}


@cache
def bad_file(kind):
    """The bytes of a bad file; the largest two are not made unless a test asks for them."""
    made = BAD[kind]
    return made if isinstance(made, bytes) else made()


READERS = {
    "load": TaskVector.load,
    "load for a model": lambda path: TaskVector.load(path, base=BASE, shapes=SHAPES),
    "summarise": summarise,
}


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "kitchen.safetensors"
        path.write_bytes(data)
        return path

    return write


def peak(call):
    """The most memory of Python and numpy that a call takes, bytes; and what it raises."""
    tracemalloc.start()
    try:
        call()
    except TaskVectorError as error:
        return tracemalloc.get_traced_memory()[1], error
    else:
        return tracemalloc.get_traced_memory()[1], None
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", BAD)
def test_it_is_refused_in_one_line_and_little_memory(write, kind, reader):
    path = write(bad_file(kind))
    taken, error = peak(lambda: READERS[reader](path))
    assert error is not None
    assert str(error).isprintable()
    assert len(str(error)) < 1000
    assert str(path) in str(error)
    assert taken < 16 * min(len(bad_file(kind)), 1 << 20) + SLACK


@pytest.mark.parametrize("kind", BAD)
def test_what_it_claims_is_compared_with_the_model_unread(write, kind):
    """At upload a host looks at the header alone: what only the entries show is found at the merge."""
    entries = (
        "mask keeps more",
        "mask keeps fewer",
        "mask keeps more than nibbles",
        "mask keeps fewer than nibbles",
        "infinite scale",
        "NaN scale",
        "scale beyond float32",
        "whole NaN",
    )
    model = {"a.weight": (4, 8)}
    if kind in entries:
        check_file(write(bad_file(kind)), BASE, model)
    else:
        with pytest.raises(TaskVectorError):
            check_file(write(bad_file(kind)), BASE, model)


def test_a_model_decides_before_anything_is_allocated(write):
    claims = vector_file(record={"shapes": {"a.weight": [1 << 32], "a.bias": [4]}})
    for reader in (TaskVector.load, summarise):
        taken, error = peak(lambda reader=reader: reader(write(claims), base=BASE, shapes=SHAPES))
        assert "a.weight has shape (4294967296,), expected (4, 8)" in str(error)
        assert taken < SLACK
    with pytest.raises(WrongBaseError, match="taken from base abababab, but this device runs cdcdcdcd"):
        TaskVector.load(write(claims), base="cd" * 32, shapes=SHAPES)
    with pytest.raises(TaskVectorError, match=r"a\.bias is missing"):
        TaskVector.load(write(vector_file(record={"shapes": WEIGHT})), base=BASE, shapes=SHAPES)


def test_zeros_cost_nothing_where_there_is_no_model(write):
    path = write(vector_file(record={"shapes": {"a.weight": [1 << 31, 2], "b.weight": [1 << 31, 1]}}))
    taken, error = peak(lambda: TaskVector.load(path))
    assert error is None
    assert taken < SLACK
    taken, error = peak(lambda: summarise(path))
    assert error is None
    assert taken < SLACK
    summary = summarise(path)
    assert (summary.norm, summary.density, summary.layers) == (0.0, 0.0, {"a": 0.0, "b": 0.0})
    assert read_origin(path).domain == "kitchen"


def test_a_large_file_is_summarised_in_about_its_size(write):
    rows, columns = 64, 1 << 17
    mask = np.random.default_rng(0).integers(0, 256, rows * columns // 8, np.uint8)
    count = int(np.unpackbits(mask).sum())
    data = vector_file(
        codes("a.weight", (rows, columns), mask=mask.tobytes(), count=count), {"shapes": {"a.weight": [rows, columns]}}
    )
    path = write(data)
    summary = None

    def call():
        nonlocal summary
        summary = summarise(path)

    taken, error = peak(call)
    assert error is None
    assert taken < 2 * len(data) + 32 * (1 << 20)  # the file's parts, and a block of 2**20 entries in several forms
    assert summary.norm == pytest.approx(0.5 * np.sqrt(count))
    assert summary.density == count / rows / columns


@given(seed=st.integers(0, 9999), rows=st.integers(1, 9), columns=st.integers(1, 30), density=st.floats(0.02, 1))
def test_a_summary_says_what_the_loaded_vector_says(tmp_path_factory, seed, rows, columns, density):
    random = np.random.default_rng(seed)
    tensors = {
        "encoder.layers.0.weight": random.standard_normal((rows, columns), np.float32)
        * (random.random((rows, columns)) < density),
        "encoder.layers.0.bias": random.standard_normal(rows, np.float32),
        "frozen.weight": np.zeros((rows, columns), np.float32),
    }
    path = tmp_path_factory.mktemp("vector") / "v.safetensors"
    TaskVector(tensors, Origin(**ORIGIN)).save(path)
    loaded, summary = TaskVector.load(path), summarise(path)
    assert summary.origin == loaded.origin
    assert summary.norm == pytest.approx(loaded.norm)
    assert summary.density == loaded.density
    assert list(summary.layers) == list(loaded.layers())
    assert summary.layers == pytest.approx(loaded.layers())


def test_any_damaged_byte_of_a_header_is_an_error_or_another_vector(write):
    """Every byte before the tensors, changed in a few ways: never anything but a TaskVectorError."""
    good = vector_file(
        codes("a.weight", (4, 8), mask=b"\xf0" * 4, count=16), {"shapes": WEIGHT, "domain": "k", "created": ""}
    )
    for place, change in itertools.product(range(len(good) - 36), (1, 0x80)):
        data = bytearray(good)
        data[place] ^= change
        path = write(bytes(data))
        for read in (TaskVector.load, summarise):
            try:
                read(path)
            except TaskVectorError as error:
                assert str(error).isprintable()  # noqa: PT017


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(TaskVectorError, match="is not a file"):
            TaskVector.load(path)


# The commands, in a process that may have 3 GB of addresses


def limited(run_in, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "device_app", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=run_in,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ASR_EDGE_HOME": str(run_in / "home")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
        timeout=120,
        check=False,
    )


def test_show_of_a_file_of_zeros_needs_no_memory(write, tmp_path):
    path = write(vector_file(record={"shapes": {"a.weight": [1 << 32, 2]}}))
    assert path.stat().st_size < 400
    done = limited(tmp_path, "vector", "show", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["norm"] == 0


@pytest.mark.parametrize("command", [("vector", "import"), ("merge",)])
def test_a_command_refuses_8_g_entries_of_zeros_in_one_line_and_little_memory(write, tmp_path, bundle, command):
    path = write(vector_file(record={"base": bundle.weights_hash, "shapes": {"a.weight": [1 << 32, 2]}}))
    done = limited(tmp_path, *command, path, *([path] if command == ("merge",) else []))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"asr-edge: {path}: ")
    assert not list((tmp_path / "home").rglob("*.safetensors"))


@pytest.mark.parametrize("command", [("vector", "import"), ("merge",)])
@pytest.mark.parametrize("kind", ["record nested 100,000 deep", "dimensions past int64"])
def test_a_command_says_it_in_one_line(write, tmp_path, monkeypatch, command, kind):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    path = write(bad_file(kind))
    done = call(*command, path, *([path] if command == ("merge",) else []), code=1)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"asr-edge: {path}: ")
    assert not list((tmp_path / "home").rglob("*.safetensors"))
