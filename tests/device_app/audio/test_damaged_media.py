"""Damaged, cut-off and joined media files: what is there is read, and one line says what is missing."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from device_app.audio.decoding import tracks
from device_app.audio.media import blocks
from device_app.audio.samples import duration_s
from editing.errors import BadAudioError
from tests.device_app.audio.media_files import FRAGMENTED, damaged, make, sound, stand_in, use_program
from tests.device_app.audio.speech import at_model_rate, decoded, encoded, is_same, speech

pytest.importorskip("av", reason="PyAV is not installed")

AUDIO, RATE = speech()
EXPECTED = at_model_rate(AUDIO, RATE)
LENGTH_S = len(EXPECTED) / 16000


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Chooses what decodes: PyAV, a stand-in for ffmpeg, or the program itself where it is installed."""

    def choose(reader):
        if reader == "stand-in":
            use_program(monkeypatch, stand_in(tmp_path))
        elif reader == "ffmpeg":
            if shutil.which("ffmpeg") is None:
                pytest.skip("ffmpeg is not installed")
            use_program(monkeypatch, shutil.which("ffmpeg"))

    return choose


def readers(*kinds):
    """Each reader with each kind, but the slow stand-in only with the first."""
    pairs = [("stand-in", kinds[0]), *((reader, kind) for reader in ("PyAV", "ffmpeg") for kind in kinds)]
    return pytest.mark.parametrize(("reader", "kind"), pairs)


def ends_alike(found, expected, count=19200):
    return is_same(found[-count:], expected[-count:])


def seconds_read(message):
    return float(re.search(r"([\d.]+) s (?:of [\d.]+ s )?could be read", message)[1])


# Not those whose samples have no structure: PCM with other bytes is other sound.
@pytest.mark.parametrize(
    "kind", ["m4a", "aac", "ac3", "amr", "mka", "webm", "wma", "ts", "mpg", "wv", "tta", "3gp", "flv"]
)
def test_what_follows_a_damaged_place_is_read(kind, tmp_path):
    data = damaged(make(tmp_path / f"talk.{kind}", kind).read_bytes(), count=1000)
    found, message = decoded(data, "talk")
    assert message.startswith("talk: damaged or cut off")
    assert seconds_read(message) > LENGTH_S - 1.2
    assert ends_alike(found, EXPECTED)


@readers("m4a", "webm", "amr")
def test_each_reader_reads_on_and_says_where(kind, reader, use, tmp_path):
    use(reader)
    data = damaged(make(tmp_path / f"talk.{kind}", kind).read_bytes(), count=800 if kind == "amr" else 2000)
    found, message = decoded(data, "talk")
    at = float(re.match(r"talk: damaged or cut off at ([\d.]+) s", message)[1])
    assert at == pytest.approx(LENGTH_S / 2, abs=1)
    assert seconds_read(message) > LENGTH_S - 1.2
    assert ends_alike(found, EXPECTED)  # silence keeps the times of what follows


@pytest.mark.parametrize("reader", ["PyAV", "ffmpeg"])
@pytest.mark.parametrize("form", ["caf", "m4a"])
def test_damaged_alac_is_reported(form, reader, use, tmp_path):
    """libsndfile decodes damaged packets of ALAC, which has no checksum, without an error."""
    use(reader)
    path = tmp_path / f"talk.{form}"
    if form == "caf":
        path.write_bytes(encoded(AUDIO, RATE, "CAF", "ALAC_16"))
    else:
        make(path, form, codec="alac")
    whole, message = decoded(path.read_bytes())
    assert message is None
    found, message = decoded(damaged(path.read_bytes(), count=6000), "talk")
    assert message.startswith("talk: damaged or cut off at ")
    assert seconds_read(message) > LENGTH_S - 1.5
    assert ends_alike(found, whole[: len(found)])  # FFmpeg leaves out the last packet of a CAF by libsndfile


def test_a_damaged_fragment_of_mp4_costs_that_fragment(tmp_path):
    data = make(tmp_path / "talk.mp4", "mp4", options=FRAGMENTED).read_bytes()
    assert decoded(data)[1] is None
    boxes = [match.start() for match in re.finditer(b"moof", data)]
    broken = bytearray(data)
    broken[boxes[4] - 4 : boxes[4] + 4] = b"\xff" * 8
    found, message = decoded(bytes(broken), "talk")
    assert "talk: damaged or cut off" in message
    assert LENGTH_S - 1.2 < seconds_read(message) < LENGTH_S
    assert ends_alike(found, EXPECTED)


@pytest.mark.parametrize("kind", ["avi", "ts", "ac3", "aac", "amr", "flv", "mkv", "webm", "wma", "mp4", "wv", "tta"])
def test_a_file_that_is_cut_off_says_so(kind, tmp_path):
    data = make(
        tmp_path / f"talk.{kind}", kind, options={"movflags": "faststart"} if kind == "mp4" else None
    ).read_bytes()
    is_silent = []
    for share in (0.4, 0.631, 0.85):
        found, message = decoded(data[: int(share * len(data))], "talk")
        assert is_same(found, EXPECTED[: len(found)], correlation=0.8)
        assert len(found) > (share - 0.25) * len(EXPECTED)
        is_silent.append(message is None)
    # Nothing tells that a file of frames ends between two of them.
    assert not all(is_silent)
    assert kind in ("amr", "aac", "ac3") or not any(is_silent)


def test_a_video_of_which_the_sound_ends_first_is_still_cut_off(tmp_path):
    whole = make(tmp_path / "talk.mkv", "mkv", tracks=[sound(16000), np.zeros(16000 * 9, np.float32)]).read_bytes()
    assert decoded(whole)[1] is None
    assert "its end is missing" in decoded(whole[: len(whole) * 9 // 10])[1]


@pytest.mark.parametrize("kind", ["amr", "wma", "m4a", "aac", "ac3", "webm", "live", "mkv", "avi", "fragmented"])
def test_joined_files_are_read_one_after_another(kind, tmp_path):
    path = make(
        tmp_path / "x",
        {"fragmented": "mp4", "live": "webm"}.get(kind, kind),
        options={"fragmented": FRAGMENTED, "live": {"live": "1"}}.get(kind),
    )
    one, message = decoded(path.read_bytes())
    assert message is None
    path.write_bytes(path.read_bytes() * 2)
    both, message = decoded(path.read_bytes())
    assert message is None
    assert len(both) == pytest.approx(2 * len(one), abs=16000 * 0.1)
    assert is_same(both[len(one) :], EXPECTED, tolerance_s=0.3)
    assert duration_s(path) in (pytest.approx(2 * LENGTH_S, abs=0.3), pytest.approx(LENGTH_S, abs=0.3), 0.0)


def test_a_cut_off_file_of_flac_in_ogg_says_so(tmp_path):
    data = make(tmp_path / "talk.oga", "oga").read_bytes()
    found, message = decoded(data, "talk")
    assert message is None
    assert is_same(found, EXPECTED, tolerance_s=0.1)
    found, message = decoded(data[: len(data) // 2], "talk")
    assert "talk: damaged or cut off" in message
    assert is_same(found, EXPECTED[: len(found)])


READ_IN_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from device_app.audio.samples import duration_s, read
with ThreadPoolExecutor(6) as pool:
    list(pool.map(lambda number: (read if number % 3 else duration_s)(Path(sys.argv[1])), range(90)))
"""


def test_what_ffmpeg_says_while_others_read_stays_off_the_terminal(tmp_path):
    """In a process of its own: where logging is set up, as by pytest, these messages go elsewhere."""
    path = make(tmp_path / "talk.aac", "aac")
    done = subprocess.run([sys.executable, "-c", READ_IN_THREADS, path], check=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["aac", "ts", "flv", "ac3", "mkv", "m4a", "avi"])
@pytest.mark.parametrize(
    "tail", [b"\n", bytes(512), b"\xff" * 188, b"TAG" + bytes(125)], ids=["\\n", "0", "ff", "ID3v1"]
)
def test_padding_at_the_end_is_no_damage(kind, tail, tmp_path):
    path = make(tmp_path / f"talk.{kind}", kind)
    one, _ = decoded(path.read_bytes())
    padded, message = decoded(path.read_bytes() + tail)
    assert message is None
    assert len(padded) == len(one)


def test_a_stream_that_appears_in_a_damaged_flv_file_is_reported(tmp_path):
    """PyAV raises IndexError for it."""
    path = make(tmp_path / "talk.flv", "flv")
    found, message = decoded(path.read_bytes() + b"hello world\n", "talk")
    assert "talk: damaged or cut off" in message
    assert is_same(found, EXPECTED, tolerance_s=0.3)


@readers("wma", "amr", "m4a")
def test_each_reader_reads_joined_files(kind, reader, use, tmp_path):
    use(reader)
    path = make(tmp_path / f"talk.{kind}", kind)
    path.write_bytes(path.read_bytes() * 2)
    found = np.concatenate([block for block, _ in blocks(path, "talk")])
    assert len(found) / (8000 if kind == "amr" else 44100) == pytest.approx(2 * LENGTH_S, abs=0.4)


def test_a_second_file_that_is_damaged_does_not_hide_the_first(tmp_path):
    one = make(tmp_path / "talk.m4a", "m4a").read_bytes()
    found, message = decoded(one + one[: len(one) // 2], "talk")
    assert "talk: damaged or cut off at" in message
    assert 1.3 * LENGTH_S < seconds_read(message) < 1.7 * LENGTH_S
    assert is_same(found[: len(EXPECTED)], EXPECTED, tolerance_s=0.3)


def test_pauses_of_a_phone_are_not_damage(tmp_path):
    """A pause is a frame that describes its noise (SID); FFmpeg's own decoder of AMR cannot decode that."""
    pause = np.concatenate([sound(8000)[:16000], 1e-4 * np.ones(16000, np.float32), sound(8000)[16000:]])
    data = make(tmp_path / "talk.amr", "amr", tracks=[pause], codec_options={"dtx": "1"}).read_bytes()
    assert len(data) < 0.8 * len(pause) / 160 * 32
    found, message = decoded(data)
    assert message is None
    assert len(found) / 16000 == pytest.approx(len(pause) / 8000, abs=0.1)


@readers("webm", "mka")
def test_a_gap_of_the_timestamps_becomes_silence(kind, reader, use, tmp_path):
    """Else the times of all words after a pause of the recorder would be wrong."""
    use(reader)
    path = make(tmp_path / f"talk.{kind}", kind, pauses=[(2.0, 1.5)])
    found, message = decoded(path.read_bytes())
    assert message is None
    expected = np.insert(EXPECTED, 32000, np.zeros(24000, np.float32))
    assert is_same(found, expected, tolerance_s=0.3)


def test_a_file_whose_index_is_missing_says_so(tmp_path):
    path = make(tmp_path / "talk.m4a", "m4a", options={})
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(BadAudioError, match="talk: cannot be read: its index is missing"):
        list(blocks(path, "talk"))


@readers("mkv")
def test_the_audio_tracks_of_a_file_are_counted(kind, reader, use, tmp_path):
    use(reader)
    assert tracks(make(tmp_path / "one.mkv", kind)) == 1
    assert tracks(make(tmp_path / "two.mkv", kind, tracks=[np.zeros(16000, np.float32), sound(16000)])) == 2
    (tmp_path / "x.mp4").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    assert tracks(tmp_path / "x.mp4") == 0
    assert tracks(tmp_path / "missing.mp4") == 0
