import json

import pytest

from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS
from editing.errors import BadInputError


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest whose recordings a.wav and deep/b.wav exist."""
    (tmp_path / "deep").mkdir()
    for name in ("a.wav", "deep/b.wav"):
        (tmp_path / name).touch()

    def write(*records):
        path = tmp_path / "manifest.jsonl"
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), "utf-8")
        return path

    return write


def test_reads_what_others_write(manifest, tmp_path):
    path = manifest(
        {"audio": "a.wav", "text": "one", "speaker": 7, "split": "train", "id": "first"},
        "",
        {"audio_filepath": str(tmp_path / "deep" / "b.wav"), "text": "two", "duration": 1.0},
    )
    first, second = read_manifest(path)
    assert (first.id, first.audio, first.text, first.speaker, first.split) == (
        "first",
        tmp_path / "a.wav",
        "one",
        "7",
        "train",
    )
    assert (second.id, second.audio) == (str(tmp_path / "deep" / "b.wav"), tmp_path / "deep" / "b.wav")


def test_reads_the_embedded_one():
    assert len(read_manifest(RECORDINGS / "manifest.jsonl")) == 5


def test_a_split_is_chosen(manifest):
    path = manifest(
        {"audio": "a.wav", "text": "", "split": "test"}, {"audio": "deep/b.wav", "text": "", "split": "train"}
    )
    assert [entry.id for entry in read_manifest(path, "test")] == ["a.wav"]
    with pytest.raises(BadInputError, match=r"split 'dev' \(it has test, train\)"):
        read_manifest(path, "dev")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: expected a JSON object"),
        ({"text": "x"}, 'line 2: has no "audio"'),
        ({"audio": "a.wav"}, 'line 2: has no "text"'),
        ({"audio": "a.wav", "text": 5}, 'line 2: has no "text"'),
        ({"audio": "../secret.wav", "text": ""}, "climbs out"),
        ({"audio": "deep/../../secret.wav", "text": ""}, "climbs out"),
        ({"audio": "c.wav", "text": ""}, r"line 2: .*c\.wav is missing"),
        ({"audio": "deep", "text": ""}, "deep is missing"),
        ({"audio": "deep/b.wav", "text": "again"}, "more than once"),
    ],
)
def test_a_bad_line_is_named(manifest, line, message):
    path = manifest({"audio": "deep/b.wav", "text": "fine"}, line)
    with pytest.raises(BadInputError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(("data", "message"), [(b"", "no utterances"), (b"\xff\xfe\x00", "cannot be read")])
def test_a_file_that_is_no_manifest(tmp_path, data, message):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(BadInputError, match=message):
        read_manifest(tmp_path / "m")
    with pytest.raises(BadInputError, match="no such manifest"):
        read_manifest(tmp_path / "other")
