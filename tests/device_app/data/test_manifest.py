import gzip
import json
import os

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS
from editing.errors import BadInputError
from tests.conftest import write_audio


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


def test_reads_manifests_of_other_tools(manifest, tmp_path):
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


def test_reads_the_embedded_manifest():
    assert len(read_manifest(RECORDINGS / "manifest.jsonl")) == 5


def test_a_split_is_selected(manifest):
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
        ("[]", "line 2: a list of 0; expected a JSON object; write each element of the list on a line"),
        ("5", "line 2: 5; expected a JSON object"),
        ({"text": "x"}, 'line 2: has no "audio"'),
        ({"audio": "a.wav"}, 'line 2: has no "text"'),
        ({"audio": "a.wav", "text": 5}, "line 2: 5 as a text; expected a string"),
        ({"audio": "a.wav", "text": "x" * 200_001}, "line 2: a text of 200,001 characters; 200,000 is the maximum"),
        ({"audio": {"path": "a.wav"}, "text": ""}, "line 2: an object of 1 as a recording; expected its path"),
        ({"audio": "c.wav", "text": ""}, r"line 2: .*c\.wav is missing"),
        ({"audio": "deep", "text": ""}, "line 2: .*deep: is a folder; name a sound file"),
        ({"audio": "/dev/zero", "text": ""}, "line 2: /dev/zero: is a device; name a sound file"),
        ('{"audio": "a.wav", "text": "one", "text": "two"}', "line 2: not JSON .a key appears twice"),
        ({"audio": "deep/b.wav", "text": "again"}, "more than once"),
        ({"audio": None, "text": "x"}, 'line 2: has no "audio"'),
        ({"audio": "a.wav", "text": None}, 'line 2: has no "text"'),
        ({"audio": "a\0.wav", "text": ""}, "line 2: .* cannot be the name of a recording"),
        ({"audio": "\ud83d.wav", "text": ""}, "line 2: .* cannot be the name of a recording"),
        ({"audio": "x" * 300 + ".wav", "text": ""}, "line 2: .* cannot be the name of a recording"),
        ({"audio": "x/" * 3000 + "a.wav", "text": ""}, "line 2: .* cannot be the name of a recording"),
        ({"audio": "a.wav", "text": "\ud83d"}, 'line 2: "text" contains half of a surrogate pair'),
        ({"audio": "a.wav", "text": "", "speaker": "\ud83d"}, 'line 2: "speaker" contains half'),
        ({"audio": "a.wav", "text": "", "speaker": ["anna"]}, 'line 2: "speaker" is a list of 1; expected a text'),
        ({"audio": "a.wav", "text": "", "id": True}, 'line 2: "id" is True; expected a text'),
        ({"audio": "a.wav", "text": "", "offset": -1}, 'line 2: "offset" is -1; expected seconds'),
        ({"audio": "a.wav", "text": "", "offset": "1"}, "line 2: \"offset\" is '1'; expected seconds"),
        ({"audio": "a.wav", "text": "", "offset": True}, 'line 2: "offset" is True'),
        ({"audio": "a.wav", "text": "", "offset": float("nan")}, 'line 2: "offset" is nan'),
        ({"audio": "a.wav", "text": "", "duration": 0}, 'line 2: "duration" is 0; expected seconds'),
        ({"audio": "a.wav", "text": "", "duration": 1e300}, r'line 2: "duration" is 1e\+300'),
        ({"audio": "a.wav", "text": "", "duration": 10**4000}, 'line 2: "duration" is 1000'),
    ],
)
def test_an_invalid_line_is_named(manifest, line, message):
    path = manifest({"audio": "deep/b.wav", "text": "fine"}, line)
    with pytest.raises(BadInputError, match=message):
        read_manifest(path)


@pytest.mark.parametrize("empty", ["", " ", None])
def test_an_empty_value_does_not_hide_that_of_another_key(manifest, empty):
    path = manifest({"audio": empty, "audio_filepath": "a.wav", "text": empty, "transcription": "one"})
    assert [(one.audio.name, one.text) for one in read_manifest(path)] == [("a.wav", "one")]


@pytest.mark.parametrize(("data", "message"), [(b"", "no utterances"), (b"\xff\xfe\x00", "cannot be read")])
def test_a_file_that_is_not_a_manifest_is_reported(tmp_path, data, message):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(BadInputError, match=message):
        read_manifest(tmp_path / "m")
    with pytest.raises(BadInputError, match="no such manifest"):
        read_manifest(tmp_path / ("x" * 5000))
    with pytest.raises(BadInputError, match="no such manifest"):
        read_manifest(tmp_path / "other")


def test_null_counts_as_absent(manifest):
    null = dict.fromkeys(("audio_filepath", "speaker", "id", "split", "offset", "duration", "transcription"))
    (found,) = read_manifest(manifest({**null, "audio": "a.wav", "text": "one"}))
    assert (found.id, found.speaker, found.split, found.is_whole) == ("a.wav", None, "", True)


def test_unicode_line_separators_and_byte_order_marks_are_no_line_ends(manifest):
    line = '{"audio": "%s", "text": "one\u2028two\x85three"}'
    found = read_manifest(manifest("\ufeff" + line % "a.wav" + "\r", "\ufeff" + line % "deep/b.wav"))
    assert [one.text for one in found] == ["one two three"] * 2


def test_a_folder_is_read_by_its_manifest(manifest, tmp_path):
    manifest({"audio": "a.wav", "text": "one"})
    assert [one.text for one in read_manifest(tmp_path)] == ["one"]
    with pytest.raises(BadInputError, match=r"deep/manifest\.jsonl: there is no such manifest"):
        read_manifest(tmp_path / "deep")


def test_a_manifest_may_name_recordings_outside_its_folder(manifest, tmp_path):
    path = manifest({"audio": "../a.wav", "text": "one"}, {"audio": "x/../../deep/b.wav", "text": "two"})
    path = path.rename(tmp_path / "deep" / path.name)
    assert [one.file.resolve() for one in read_manifest(path)] == [tmp_path / "a.wav", tmp_path / "deep" / "b.wav"]


def test_a_pipe_is_named_and_not_opened(manifest, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(BadInputError, match=r"line 1: .*pipe\.wav: is a pipe; name a sound file"):
        read_manifest(manifest({"audio": "pipe.wav", "text": "one"}))
    (tmp_path / "manifest.jsonl").unlink()
    os.mkfifo(tmp_path / "MANIFEST.jsonl")
    with pytest.raises(BadInputError, match=r"MANIFEST\.jsonl: is a pipe, not a text file"):
        read_manifest(tmp_path)


def test_a_manifest_may_have_an_upper_case_name_and_lines_that_end_in_cr(manifest, tmp_path):
    lines = manifest({"audio": "a.wav", "text": "one"}, {"audio": "deep/b.wav", "text": "two"}).read_text()
    (tmp_path / "manifest.jsonl").unlink()
    (tmp_path / "Manifest.JSONL").write_bytes(lines.replace("\n", "\r").encode())
    assert [one.text for one in read_manifest(tmp_path)] == ["one", "two"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"text": "don\x92t"}', "line 1 is not UTF-8; .* iconv -f WINDOWS-1252 -t UTF-8"),
        (b'{}\r{"text": "caf\xe9"}', "line 2 is not UTF-8; .* iconv -f ISO-8859-1 -t UTF-8"),
        (
            '{"text": "привет"}'.encode("cp1251"),
            "line 1 is not UTF-8; convert the file with iconv -f ITS-ENCODING -t UTF-8",
        ),
        ('{"text": "café fo'.encode() + b"\xc3", "line 1 is not UTF-8; convert the file with iconv -f ITS-ENCODING"),
        ('{"text": "one"}'.encode("utf-16-le"), "in UTF-16LE; convert the file: iconv -f UTF-16LE"),
        ('{"text": "one"}'.encode("utf-32"), "iconv -f UTF-32"),
        (gzip.compress(b"{}", mtime=0), r"is compressed \(gzip\); unpack it first"),
        ((RECORDINGS / "invalid.flac").read_bytes(), "it is a sound file; expected a text file"),
    ],
)
def test_what_a_file_is_that_is_not_utf_8(tmp_path, data, message):
    (tmp_path / "m.jsonl").write_bytes(data)
    with pytest.raises(BadInputError, match=f"cannot be read as text: .*{message}"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_link_may_lead_out_of_the_folder(manifest, tmp_path):
    (tmp_path / "elsewhere").touch()
    path = manifest({"audio": "in/c.wav", "text": "one"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "c.wav").symlink_to("../elsewhere")
    assert len(read_manifest(path)) == 1


RATES = [16_000, 8_000, 44_100, 48_000]


@pytest.fixture
def long(tmp_path):
    """Writes long.flac, in which the second n is a tone of 100 * (n + 1) Hz, and its manifest."""

    def write(*records, rate=16_000, seconds=6, name="long.flac"):
        at = np.arange(seconds * rate) / rate
        write_audio(tmp_path / name, (0.5 * np.sin(2 * np.pi * 100 * (np.floor(at) + 1) * at)).astype(np.float32), rate)
        lines = (json.dumps({"audio_filepath": name, "text": "x", **record}) for record in records)
        (tmp_path / "m.jsonl").write_text("\n".join(lines))
        return tmp_path / "m.jsonl"

    return write


def pitch(audio):
    """Of the strongest tone, Hz."""
    return np.argmax(np.abs(np.fft.rfft(audio))) * SAMPLE_RATE / len(audio)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["long.flac", "long.wav", "long.ogg", "long.mp3"])
def test_each_line_is_its_own_part_of_the_recording(long, rate, name):
    path = long(
        {"duration": 1},
        {"offset": 1, "duration": 1},
        {"offset": 3.25, "duration": 0.5},
        {"offset": 5},
        rate=rate,
        name=name,
    )
    found = read_manifest(path)
    assert [round(pitch(one.read()), -1) for one in found] == [100, 200, 400, 600]
    assert [len(one.read()) for one in found[:3]] == [16_000, 16_000, 8_000]
    assert len(found[3].read()) == pytest.approx(16_000, abs=2000)  # an MP3 ends later
    assert [one.id for one in found] == [name, f"{name}@1.000+1.000", f"{name}@3.250+0.500", f"{name}@5.000"]


@pytest.mark.parametrize("rate", RATES)
def test_a_part_is_the_same_as_in_the_whole_recording(long, rate):
    (found,) = read_manifest(long({"offset": 2.123, "duration": 1.234}, rate=rate))
    whole = read(found.file)
    assert np.abs(found.read() - whole[found.start : found.end]).max() < (1e-4 if rate != 16_000 else 1e-9)


@pytest.mark.parametrize("duration", [5.8, 6.0, 6.2])
def test_a_duration_alone_that_is_nearly_the_length_means_the_whole_recording(long, duration):
    (found,) = read_manifest(long({"duration": duration}))
    assert found.is_whole


@pytest.mark.parametrize(
    "record", [{"offset": 6}, {"offset": 100, "duration": 1}, {"offset": 5, "duration": 2}, {"duration": 7}]
)
def test_a_part_outside_the_recording_names_line_and_remedy(long, record):
    path = long({"id": "fine"}, record)
    with pytest.raises(
        BadInputError, match=r'm\.jsonl, line 2: .*long\.flac: .* is outside .*6\.000 s; correct "offset"'
    ):
        read_manifest(path)


@pytest.mark.parametrize("duration", [0.00001, 0.05])
def test_a_part_that_is_too_short_names_the_line(tmp_path, duration):
    write_audio(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, np.float32))
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps({"audio": "a.wav", "text": "x", "offset": 0.5, "duration": duration}))
    with pytest.raises(BadInputError, match=rf"^{path}, line 1: .*a\.wav: the part from 0\.500 s is 0\.0.0 s long"):
        read_manifest(path)
