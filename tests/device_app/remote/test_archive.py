"""Dataset archives: packing and unpacking, and the refusal of anything else."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.audio.samples import encode
from device_app.data.utterance import Utterance
from device_app.remote.archive import pack, unpack
from editing.errors import BadInputError


def flac(seconds=1.0, seed=0):
    random = np.random.default_rng(seed)
    return encode((0.1 * random.standard_normal(round(16_000 * seconds))).astype(np.float32))


def name_of(data, folder="audio", suffix="flac"):
    return f"{folder}/{hashlib.sha256(data).hexdigest()}.{suffix}"


def line(name, text="hello", split="train", **more):
    return {"audio": name, "text": text, "split": split, **more}


@pytest.fixture
def archive(tmp_path):
    """Writes a tar with members (name, bytes, changes to the header)."""

    def write(*members, form=tarfile.USTAR_FORMAT):
        path = tmp_path / "dataset.tar"
        with tarfile.open(path, "w", format=form) as tar:
            for name, data, *changes in members:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                for key, value in (changes[0] if changes else {}).items():
                    setattr(member, key, value)
                tar.addfile(member, io.BytesIO(data))
        return path

    return write


def manifest(*lines):
    return "manifest.jsonl", "\n".join(json.dumps(one) for one in lines).encode()


def test_a_packed_dataset_is_unpacked_unchanged(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.flac")
        paths[-1].write_bytes(flac(seed=number))
    vector = tmp_path / (hashlib.sha256(b"vector").hexdigest() + ".safetensors")
    vector.write_bytes(b"vector")
    training = [
        Utterance(audio=paths[0], text="grüße"),
        Utterance(audio=paths[1], text="two"),
        Utterance(audio=paths[0], text="again"),
    ]
    digest = pack(tmp_path / "a.tar", training, [Utterance(audio=paths[2], text="three")], [vector])
    assert digest == hashlib.sha256((tmp_path / "a.tar").read_bytes()).hexdigest()
    found = unpack(tmp_path / "a.tar", tmp_path / "out")
    assert [one.text for one in found.training] == ["grüße", "two", "again"]
    assert [one.audio.read_bytes() for one in found.training] == [paths[n].read_bytes() for n in (0, 1, 0)]
    assert [one.text for one in found.held_out] == ["three"]
    assert {name: path.read_bytes() for name, path in found.vectors.items()} == {vector.stem: b"vector"}


GOOD = flac()


@pytest.mark.parametrize(
    ("members", "form"),
    [
        ([(f"../{name_of(GOOD)}", GOOD)], tarfile.USTAR_FORMAT),
        ([("/etc/passwd", b"x")], tarfile.USTAR_FORMAT),
        ([("audio/../../evil.flac", GOOD)], tarfile.USTAR_FORMAT),
        ([(name_of(GOOD), b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], tarfile.USTAR_FORMAT),
        ([(name_of(GOOD), b"", {"type": tarfile.LNKTYPE, "linkname": "manifest.jsonl"})], tarfile.USTAR_FORMAT),
        ([(name_of(GOOD), b"", {"type": tarfile.CHRTYPE})], tarfile.USTAR_FORMAT),
        ([(name_of(GOOD), b"", {"type": tarfile.FIFOTYPE})], tarfile.USTAR_FORMAT),
        ([("audio", b"", {"type": tarfile.DIRTYPE})], tarfile.USTAR_FORMAT),
        ([(name_of(GOOD), GOOD, {"pax_headers": {"path": "../evil"}})], tarfile.PAX_FORMAT),
        ([("audio/" + "a" * 300, GOOD)], tarfile.GNU_FORMAT),
        ([(name_of(GOOD), GOOD), (name_of(GOOD), GOOD)], tarfile.USTAR_FORMAT),
        ([(name_of(b"other"), GOOD)], tarfile.USTAR_FORMAT),
        ([("script.py", b"import os")], tarfile.USTAR_FORMAT),
    ],
)
def test_members_that_are_not_recordings_are_refused(archive, tmp_path, members, form):
    path = archive(manifest(line(name_of(GOOD))), *members, form=form)
    with pytest.raises(BadInputError, match="the archive"):
        unpack(path, tmp_path / "out" / "dataset")
    assert not (tmp_path / "evil.flac").exists()
    assert not (tmp_path / "out" / "evil.flac").exists()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line("/etc/passwd")],
        [line("manifest.jsonl")],
        [line(name_of(GOOD), split="dev")],
        [line(name_of(GOOD), text="")],
        [line(name_of(GOOD), text=["list"])],
        [line(name_of(GOOD), code="import os")],
        [line(name_of(GOOD), split="test")],
        [line(name_of(b"missing"))],
        [["not", "an", "object"]],
    ],
)
def test_an_invalid_manifest_is_refused(archive, tmp_path, lines):
    with pytest.raises(BadInputError, match="the archive"):
        unpack(archive(manifest(*lines), (name_of(GOOD), GOOD)), tmp_path / "out")


def test_a_recording_that_is_not_in_the_manifest_is_refused(archive, tmp_path):
    other = flac(seed=5)
    path = archive(manifest(line(name_of(GOOD))), (name_of(GOOD), GOOD), (name_of(other), other))
    with pytest.raises(BadInputError, match="no line of its manifest"):
        unpack(path, tmp_path / "out")


def test_ten_hours_in_a_small_flac_are_refused_without_decoding_all(archive, tmp_path):
    file = tmp_path / "long.flac"
    silence = np.zeros(8_000 * 600, np.int16)
    with soundfile.SoundFile(file, "w", 8_000, 1, "PCM_16", format="FLAC") as out:
        for _ in range(60):
            out.write(silence)
    data = file.read_bytes()
    with pytest.raises(BadInputError, match="longer than 30 s"):
        unpack(archive(manifest(line(name_of(data))), (name_of(data), data)), tmp_path / "out")


def test_a_member_shorter_than_its_declared_size_is_refused(tmp_path):
    header = tarfile.TarInfo(name_of(GOOD))
    header.size = 7 << 30
    first = tarfile.TarInfo("manifest.jsonl")
    content = manifest(line(name_of(GOOD)))[1]
    first.size = len(content)
    path = tmp_path / "bomb.tar"
    path.write_bytes(first.tobuf() + content.ljust(512, b"\0") + header.tobuf() + b"short")
    with pytest.raises(BadInputError, match="truncated"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("data", [b"not audio", b"fLaC" + b"\0" * 100, flac()[:2000]])
def test_files_that_are_not_recordings_are_refused(archive, tmp_path, data):
    with pytest.raises(BadInputError, match="not a readable recording"):
        unpack(archive(manifest(line(name_of(data))), (name_of(data), data)), tmp_path / "out")


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=3000), keep=st.integers(0, 2048))
def test_random_bytes_are_refused(tmp_path_factory, data, keep):
    folder = tmp_path_factory.mktemp("any")
    first = tarfile.TarInfo("manifest.jsonl")
    first.size = 20
    path = folder / "any.tar"
    path.write_bytes((first.tobuf() + b"x" * 512)[:keep] + data)
    with pytest.raises(BadInputError, match="the archive"):
        unpack(path, folder / "out")
