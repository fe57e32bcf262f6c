"""Containers that libsndfile does not read, through PyAV, through ffmpeg, or named in one line."""

import io
import shutil
import tempfile

import numpy as np
import pytest

from device_app.audio import decoding, media
from device_app.audio.samples import duration_s, is_recording, read, read_blocks
from editing.errors import BadAudioError, IncompleteAudioError
from tests.device_app.audio.media_files import CONTAINERS, make, stand_in, use_program
from tests.device_app.audio.speech import at_model_rate, is_same, speech

av = pytest.importorskip("av", reason="PyAV is not installed")

AUDIO, RATE = speech()
EXPECTED = at_model_rate(AUDIO, RATE)


@pytest.fixture(params=CONTAINERS)
def recording(request, tmp_path):
    return make(tmp_path / f"talk.{request.param}", request.param)


def test_a_temporary_copy_of_a_stream_is_read_as_the_file(recording):
    """Regression: PyAV took the mode from the file object, and a temporary file can be written."""
    with tempfile.TemporaryFile() as copy:
        copy.write(recording.read_bytes())
        samples = np.concatenate([block for block, _ in media.blocks(copy, "upload")])
    assert len(samples)
    expected = np.concatenate([block for block, _ in media.blocks(recording, "file")])
    np.testing.assert_array_equal(samples, expected)


def test_a_media_file_is_read_whole(recording):
    assert is_same(read(recording), EXPECTED, tolerance_s=0.3)
    assert duration_s(recording) in (0.0, pytest.approx(len(EXPECTED) / 16000, abs=0.3))
    assert is_recording(recording)


def test_a_media_file_is_read_from_a_stream(recording):
    found = np.concatenate(list(read_blocks(io.BytesIO(recording.read_bytes()), "standard input")))
    assert is_same(found, EXPECTED, tolerance_s=0.3)


@pytest.mark.parametrize("codec", ["aac", "adpcm_ms"])
def test_avi_may_have_any_bit_rate(tmp_path, codec):
    """Regression: FFmpeg's timestamps and length of such files are wrong, and samples were called missing."""
    path = make(tmp_path / "talk.avi", "avi", codec=codec)
    assert is_same(read(path), EXPECTED, tolerance_s=0.3)


def test_aac_behind_a_large_picture_is_read(tmp_path):
    """Regression: FFmpeg did not find the frames."""
    path = make(tmp_path / "talk.aac", "aac")
    path.write_bytes(b"ID3\4\0\0\1\0\0\0" + bytes(1 << 21) + path.read_bytes())
    assert is_same(read(path), EXPECTED, tolerance_s=0.3)


@pytest.mark.parametrize("kind", ["webm", "mkv", "mka", "m4a", "mov", "wma"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_media_file_that_is_cut_off_says_so(tmp_path, kind, share):
    path = make(tmp_path / f"talk.{kind}", kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    found = [np.zeros(0, np.float32)]
    with pytest.raises(BadAudioError) as raised:
        found += read_blocks(path, "talk")
    audio = np.concatenate(found)
    assert isinstance(raised.value, IncompleteAudioError) == (len(audio) > 0)
    assert not len(audio) or is_same(audio, EXPECTED[: len(audio)])


def test_without_pyav_and_ffmpeg_one_line_names_both(recording, monkeypatch):
    monkeypatch.setattr(media, "_has_pyav", lambda: False)
    monkeypatch.setattr(media, "_ffmpeg", lambda: None)
    for call in (read, duration_s):
        with pytest.raises(BadAudioError) as raised:
            call(recording)
        assert str(raised.value).startswith(f"{recording}: ")
        assert "'.[media]'" in str(raised.value)
        assert "ffmpeg" in str(raised.value)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    use_program(monkeypatch, stand_in(tmp_path))


def test_ffmpeg_is_used_without_pyav(ffmpeg, tmp_path):
    path = make(tmp_path / "talk.m4a", "m4a")
    assert is_same(read(path), EXPECTED, tolerance_s=0.3)
    option = shutil.copy(path, tmp_path / "-i.m4a")
    assert is_same(read(option), EXPECTED, tolerance_s=0.3)


def test_a_file_without_sound_is_named_with_ffmpeg_too(ffmpeg, tmp_path):
    with pytest.raises(BadAudioError, match="has no audio"):
        read(make_video(tmp_path / "silent.mp4"))


def test_what_ffmpeg_cannot_read_is_one_line(ffmpeg, tmp_path):
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(BadAudioError, match=r"talk\.m4a: cannot be read: its index is missing") as raised:
        read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "ffconcat version 1.0\nfile '/etc/passwd'\n"]
)
def test_a_playlist_opens_no_other_file(tmp_path, content):
    path = tmp_path / "talk.m4a"
    path.write_text(content)
    with pytest.raises(BadAudioError, match="not audio that can be read"):
        read(path)


def make_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_a_video_without_sound_is_reported(tmp_path):
    with pytest.raises(BadAudioError, match="has no audio"):
        read(make_video(tmp_path / "silent.mp4"))


def test_random_bytes_under_the_signature_of_a_container_are_no_audio(tmp_path):
    rng = np.random.default_rng(0)
    for offset, magic in decoding.containers.FOREIGN_SIGNATURES:
        data = bytearray(rng.integers(0, 256, 5000, np.uint8).tobytes())
        data[offset : offset + len(magic)] = magic
        with pytest.raises(BadAudioError):
            list(read_blocks(io.BytesIO(bytes(data)), "x"))
