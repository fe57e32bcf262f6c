"""Every reader of files from elsewhere gets mutated real files: only an AsrEdgeError may come out.

ASR_EDGE_FUZZ is the number of inputs per reader (by default 300):

    ASR_EDGE_FUZZ=5000 pytest -m slow tests/hostile/test_fuzz_readers.py
"""

import gzip
import io
import json
import os
import resource
import shutil
import struct
import time
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_app.audio.samples import SAMPLE_RATE, duration_s, is_recording, read
from device_app.data.corpora import find_utterances
from device_app.data.importing import import_utterances
from device_app.data.manifest import read_manifest
from device_app.data.recordings import recording_of
from device_app.data.repair.database import examine_database
from device_app.data.store import Store
from device_app.data.store.quarantine import Quarantine
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import basic, english
from device_app.models.ledger_record import DamagedRecordError, NewerRecordError, parse_record
from device_app.models.moonshine_checkpoint import CONFIG_KEYS, read_checkpoint
from device_app.recognition.ngram import NGram
from device_app.recording.prompts import BUILT_IN, read_prompts
from device_app.remote import jobs, trusted_hosts
from device_app.remote.archive import pack, unpack
from editing import Origin, TaskVector
from editing.errors import AsrEdgeError
from editing.task_vector import summarise
from export.bundle import Bundle
from export.weights import QuantisedTensor, read_shapes, read_weights, write_weights
from tests.conftest import write_audio
from tests.hostile.test_ledger_files import record as ledger_record

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("ASR_EDGE_FUZZ", "300"))
# Seconds of CPU time for one input of at most a few hundred kilobytes. Wall time would depend on the machine's load.
SLOWEST = 20
MEMORY = 600 << 20  # bytes that a reader may add to the peak of the process, over all its inputs

TOKENS = [
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"-", b"0", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}"),
    *(b'""', b'"', b"\\ud83d", b"\\u0000", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\r", b"\n", b"\t"),
    *(b",", b"../", b"/", b"\x1b[2J", b"x" * 70_000, struct.pack("<I", 0xFFFFFFFF), struct.pack("<Q", 1 << 62)),
]


@st.composite
def mutations(draw):
    """A few changes of bytes, as (place, kind, content); places are fractions of the length."""
    place = st.floats(0, 1, exclude_max=True)
    content = st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8))
    change = st.tuples(st.sampled_from(["replace", "insert", "delete", "cut off", "repeat"]), place, place, content)
    return draw(st.lists(change, min_size=1, max_size=4))


def mutated(data, changes):
    for kind, place, extent, content in changes:
        at = int(place * len(data))
        size = 1 + int(extent**4 * (len(data) - at))  # most are short
        if kind == "replace":
            data = data[:at] + content + data[at + len(content) :]
        elif kind == "insert":
            data = data[:at] + content + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "cut off":
            data = data[:at]
        else:
            data = data[: at + size] + data[at : at + size] + data[at + size :]
    return data


def tone(seconds=0.5, rate=SAMPLE_RATE):
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 9)).astype(np.float32)


def audio(form, rate=SAMPLE_RATE):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(rate=rate), rate, format=form)
    return buffer.getvalue()


ARPA = rb"""\data\
ngram 1=3
ngram 2=1

\1-grams:
-1.0 <s> -0.3
-1.2 a -0.2
-1.3 </s>

\2-grams:
-0.5 <s> a

\end\
"""


def lines(*records):
    return "".join(json.dumps(one) + "\n" for one in records).encode()


MANIFEST = lines(
    {"audio": "a.wav", "text": "one two", "speaker": "anna", "split": "train", "id": "1", "duration": 0.5},
    {"audio_filepath": "a.wav", "offset": 0.1, "duration": 0.2, "text": "three", "speaker": None, "split": "test"},
)
ORIGIN = {
    "base": "ab" * 32,
    "family": "moonshine",
    "domain": "kitchen",
    "created": "2026",
    "utterances": 3,
    "seconds": 9.5,
}
HOST = {"https://box:1": {"url": "https://box:1", "key": "a2V5", "authority": None, "token": "t", "consent": True}}
JOB = {
    "key": "ab",
    "url": "https://box:1",
    "model": None,
    "plan": {"domain": "kitchen", "method": "ties", "settings": {"lam": 0.6}},
    "request": {"epochs": 1},
    "origin": ORIGIN,
    "created": "2026",
    "identity": "",
}
BUNDLE = {
    "format_version": 1,
    "name": "n",
    "family": "moonshine",
    "sampling_rate": 16000,
    "config": {},
    "licence": "MIT",
    "origin": "o",
    "files": {},
}
CHECKPOINT = {"model_type": "moonshine", "rope_parameters": {"rope_theta": 1.0}, **dict.fromkeys(CONFIG_KEYS, 1)}


def listed(path):
    found = find_utterances(path)[1]
    for one in found:
        english(one.transcript), basic(one.transcript)
    return found


def imported(path):
    found = listed(path)
    with Store(path.parent / "store") as store:
        import_utterances(store, found, "d")


def read_store(home):
    examine_database(home)
    with Store(home) as store:
        list(store.utterances())
        store.stats()


def parsed(path):
    with suppress(DamagedRecordError, NewerRecordError):  # errors of the file, which its callers report
        parse_record(path.read_bytes())


def decode(path):
    is_recording(path)
    duration_s(path)
    read(path)


def vector_bytes(folder):
    path = folder / "v.safetensors"
    tensors = {"a.weight": np.ones((4, 8), np.float32), "a.bias": np.zeros(4, np.float32)}
    TaskVector(tensors, Origin(**ORIGIN)).save(path)
    return path.read_bytes()


def weights_bytes(folder):
    codes = QuantisedTensor(np.ones((3, 4), np.int8), 0.5, 0.0)
    write_weights(folder / "w", {"a": np.ones((3, 4), np.float32), "c": codes})
    return (folder / "w").read_bytes()


def checkpoint(path):
    write_weights(path.parent / "model.safetensors", {"a": np.ones(3, np.float32)})
    (path.parent / "tokenizer.json").write_text("{}")
    read_checkpoint(path.parent)


def archive_bytes(folder):
    sound = write_audio(folder / "pack.flac", tone())
    pack(folder / "archive", [Utterance(audio=sound, text="one")], [Utterance(audio=sound, text="two")])
    return (folder / "archive").read_bytes()


def unpacked(path):
    try:
        unpack(path, path.parent / "unpacked")
    finally:
        shutil.rmtree(path.parent / "unpacked", ignore_errors=True)


def store_bytes(folder):
    with Store(folder / "home") as store:
        store.add([Utterance(domain="d", text="one", speaker="anna", recording=recording_of(tone()))])
    return (folder / "home" / "store.sqlite3").read_bytes()


# By name: the file that is mutated, its valid content (or how to make it), and how it is read.
READERS = {
    "manifest": ("corpus/m.jsonl", MANIFEST, read_manifest),
    "manifest, imported": ("corpus/m.jsonl", MANIFEST, imported),
    "metadata.csv": ("corpus/metadata.csv", b'file_name,text,speaker\na.wav,"Hello,\nyou",anna\na.wav,two,\n', listed),
    "validated.tsv": (
        "corpus/validated.tsv",
        b"client_id\tpath\tsentence\taccents\nabc\ta\tOne.\tUS/UK\nq\ta.mp3\tTwo\t\n",
        listed,
    ),
    "LibriSpeech": ("corpus/1-2.trans.txt", b"1-2-0001 ONE TWO\n1-2-0002 THREE\n", lambda path: listed(path.parent)),
    "text beside": (
        "corpus/a.txt",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
        lambda path: listed(path.parent),
    ),
    "prompts": ("prompts.txt", BUILT_IN.read_bytes()[:2000], read_prompts),
    "ARPA": ("lm.arpa", ARPA, NGram.read),
    "ARPA, gzip": ("lm.arpa.gz", gzip.compress(ARPA, mtime=0), NGram.read),
    "model.json": ("model.json", json.dumps(BUNDLE).encode(), lambda path: Bundle.open(path.parent).check()),
    "config.json": ("config.json", json.dumps(CHECKPOINT).encode(), checkpoint),
    "ledger": ("ledger.json", json.dumps(ledger_record()).encode(), parsed),
    "task vector": ("v.safetensors", vector_bytes, lambda path: (TaskVector.load(path), summarise(path))),
    "weights": ("w.safetensors", weights_bytes, lambda path: (read_shapes(path), read_weights(path))),
    "hosts": ("home/hosts.json", json.dumps(HOST).encode(), lambda _path: trusted_hosts.hosts()),
    "job": (
        "home/jobs/ab/job.json",
        json.dumps(JOB).encode(),
        lambda _path: jobs.jobs(),
    ),
    "quarantine": (
        "home/quarantine/utterances.jsonl",
        lines({"sha256": "ab", "domain": "d", "text": "x", "file": "a.flac"}),
        lambda path: Quarantine(path.parent.parent).records(),
    ),
    "database": ("home/store.sqlite3", store_bytes, lambda path: read_store(path.parent)),
    "archive of a job": ("archive", archive_bytes, unpacked),
    **{
        f"{form} of {rate} Hz": (f"x.{form.lower()}", lambda _folder, form=form, rate=rate: audio(form, rate), decode)
        for form, rate in (("FLAC", 16_000), ("WAV", 44_100), ("OGG", 16_000), ("MP3", 44_100), ("AIFF", 8_000))
    },
}


@pytest.fixture
def readable(tmp_path, monkeypatch, request):
    """The path, the valid content and the reader of a kind of file."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    write_audio(tmp_path / "corpus" / "a.wav", tone())
    (tmp_path / "corpus" / "clips").mkdir()
    shutil.copy(tmp_path / "corpus" / "a.wav", tmp_path / "corpus" / "clips" / "a.mp3")
    name, valid, reader = READERS[request.param]
    data = valid(tmp_path) if callable(valid) else valid
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, data, reader


@pytest.mark.parametrize("readable", READERS, indirect=True)
def test_the_file_is_read_as_it_is(readable):
    path, data, reader = readable
    path.write_bytes(data)
    reader(path)


@pytest.mark.parametrize("readable", READERS, indirect=True)
def test_a_mutated_file_is_read_or_reported(readable):
    path, data, reader = readable
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations())
    def check(changes):
        for journal in path.parent.glob(f"{path.name}-*"):  # of the database before
            journal.unlink()
        path.write_bytes(mutated(data, changes))
        start = time.process_time()
        try:
            reader(path)
        except AsrEdgeError as error:
            assert len(str(error)) < 3000  # noqa: PT017
        assert time.process_time() - start < SLOWEST

    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < before + MEMORY
