"""Files whose headers are wrong, missing or of one of several joined files: all sound is read, and no more."""

import io
import os
import re
import struct

import numpy as np
import pytest
import soundfile

from device_app.audio import containers
from device_app.audio.containers import iff
from device_app.audio.samples import SAMPLE_RATE, duration_s, read_blocks
from editing.errors import BadAudioError, IncompleteAudioError
from tests.device_app.audio.speech import at_model_rate, decoded, encoded, is_same, speech

AUDIO, RATE = speech()
OTHER, _ = speech("invalid")
EXPECTED, OTHER_EXPECTED = at_model_rate(AUDIO, RATE), at_model_rate(OTHER, RATE)
BOTH = np.concatenate([EXPECTED, OTHER_EXPECTED])

# Format and subtype of libsndfile, and kbit/s or so for compressed ones.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav-24": ("WAV", "PCM_24"),
    "wav-8": ("WAV", "PCM_U8"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-ulaw": ("WAV", "ULAW"),
    "wav-alaw": ("WAV", "ALAW"),
    "wav-ima": ("WAV", "IMA_ADPCM"),
    "wav-ms": ("WAV", "MS_ADPCM"),
    "wav-gsm": ("WAV", "GSM610"),
    "wav-extensible": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aiff-float": ("AIFF", "FLOAT"),
    "aiff-ulaw": ("AIFF", "ULAW"),
    "au": ("AU", "PCM_16"),
    "au-ulaw": ("AU", "ULAW"),
    "au-float": ("AU", "FLOAT"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "flac-24": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
RARE = {
    "aiff-ima": ("AIFF", "IMA_ADPCM"),
    "aiff-gsm": ("AIFF", "GSM610"),
    "aiff-dwvw": ("AIFF", "DWVW_16"),
    "svx": ("SVX", "PCM_16"),
    "svx-8": ("SVX", "PCM_S8"),
    "au-g721": ("AU", "G721_32"),
    "w64-ms": ("W64", "MS_ADPCM"),
    "caf-float": ("CAF", "FLOAT"),
    "caf-alac": ("CAF", "ALAC_16"),
    "voc": ("VOC", "PCM_16"),
    "voc-ulaw": ("VOC", "ULAW"),
    "sphere": ("NIST", "PCM_16"),
    "sphere-ulaw": ("NIST", "ULAW"),
    "avr": ("AVR", "PCM_16"),
    "htk": ("HTK", "PCM_16"),
    "mpc": ("MPC2K", "PCM_16"),
}


def make(kind, audio=AUDIO, rate=RATE, **options):
    return encoded(audio, rate, *(FORMATS | RARE)[kind], **options)


def is_both(found):
    """Whether both sentences are there; a codec may add silence to the end of the first."""
    second = found[-len(OTHER_EXPECTED) - SAMPLE_RATE // 2 :]
    return is_same(found[: len(EXPECTED)], EXPECTED) and is_same(second, OTHER_EXPECTED, tolerance_s=0.6, delay_s=0.6)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_whole_and_without_a_complaint(kind, capfd):
    found, message = decoded(make(kind))
    assert message is None
    assert is_same(found, EXPECTED)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.61, 0.9])
def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(kind, share, capfd):
    data = make(kind)
    found, message = decoded(data[: round(len(data) * share)])
    assert message is not None
    assert "cut off" in message or "damaged" in message
    assert (share - 0.25) * len(EXPECTED) < len(found) < (share + 0.15) * len(EXPECTED)
    assert is_same(found, EXPECTED[: len(found)])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", RARE)
def test_a_cut_off_file_of_a_rare_format_says_how_much_was_read(kind):
    data = make(kind)
    found, message = decoded(data[: round(len(data) * 0.6)])
    assert message.startswith("x: damaged or cut off")
    assert 0.4 * len(EXPECTED) < len(found) < 0.7 * len(EXPECTED)
    assert is_same(found, EXPECTED[: len(found)])


@pytest.mark.parametrize("kind", [*FORMATS, *RARE])
def test_joined_files_are_read_one_after_the_other(kind):
    found, message = decoded(make(kind) + make(kind, OTHER))
    assert message is None
    assert is_both(found)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_joined_files_may_differ_in_rate_and_channels(kind):
    stereo = np.repeat(OTHER[:, None], 2, axis=1)
    found, message = decoded(make(kind) + make(kind, np.repeat(stereo, 2, axis=0), 2 * RATE))
    assert message is None
    assert is_same(found, BOTH)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_the_second_of_joined_files_may_be_cut_off(kind):
    second = make(kind, OTHER)
    found, message = decoded(make(kind) + second[: round(len(second) * 0.7)])
    assert message is not None
    assert len(EXPECTED) + 0.3 * len(OTHER_EXPECTED) < len(found) < len(BOTH)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_three_joined_files(kind):
    found, message = decoded(make(kind) + make(kind, OTHER) + make(kind))
    assert message is None
    assert is_same(found, np.concatenate([BOTH, EXPECTED]), tolerance_s=0.25)


@pytest.mark.parametrize(("kind", "order"), [("wav", "little"), ("aiff", "big")])
def test_a_joined_file_is_found_after_a_chunk_that_follows_the_samples(kind, order):
    chunk = b"NAME" + (300).to_bytes(4, order) + bytes(300)
    found, message = decoded(make(kind) + chunk + make(kind, OTHER))
    assert message is None
    assert is_both(found)


# WAV files whose samples are in several chunks, as programs write them that append to a file


def second_chunk(kind, audio=OTHER):
    data = make(kind, audio)
    return data[data.index(b"data") :]


@pytest.mark.parametrize("kind", ["wav", "wav-24", "wav-ulaw", "wav-extensible"])
@pytest.mark.parametrize("between", [b"", b"LIST\x04\x00\x00\x00INFO"], ids=["adjacent", "after another chunk"])
def test_all_data_chunks_of_a_wav_file_are_read(kind, between):
    found, message = decoded(make(kind) + between + second_chunk(kind))
    assert message is None
    assert is_both(found)


def test_a_wav_file_whose_second_data_chunk_is_cut_off():
    second = second_chunk("wav")
    found, message = decoded(make("wav") + second[: len(second) // 2])
    assert "cut off" in message
    assert is_same(found[: len(EXPECTED)], EXPECTED)
    assert len(found) == pytest.approx(len(EXPECTED) + len(OTHER_EXPECTED) / 2, abs=SAMPLE_RATE // 10)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_second_data_chunk_whose_length_was_never_written(length):
    second = second_chunk("wav")
    found, message = decoded(make("wav") + second[:4] + struct.pack("<I", length) + second[8:])
    assert message is None
    assert is_both(found)


def test_bytes_lost_in_the_middle_of_a_wav_file_are_reported():
    data = make("wav")
    assert decoded(data[:9001] + data[10002:])[1].startswith("x: damaged or cut off")
    assert decoded(data[:9000] + data[9044:])[1] is None  # as many as a header has


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_pages_of_an_ogg_file_that_are_repeated_are_read_once(kind):
    data = make(kind, np.tile(AUDIO, 3))
    pages = [found.start() for found in re.finditer(b"OggS", data)]
    expected, _ = decoded(data)
    third, fifth = pages[3], pages[5]
    for damaged in (data[:fifth] + data[third:], data[: fifth - 100] + data[third - 50 :]):
        found, message = decoded(damaged)
        assert message is None
        assert is_same(found, expected, tolerance_s=0.05)


def test_a_w64_file_from_a_pipe_of_ffmpeg_is_whole():
    data = make("w64")
    at = data.index(b"data\xf3\xac") + 16
    unwritten = data[:16] + b"\xff" * 8 + data[24:at] + struct.pack("<Q", 2**63 - 1) + data[at + 8 :]
    found, message = decoded(unwritten)
    assert message is None
    assert is_same(found, EXPECTED)


def test_a_cut_off_file_of_adpcm_says_how_long_it_was():
    data = make("wav-ima")
    at = data.index(b"fmt ") + 16  # the byte rate, which FFmpeg writes wrong for ADPCM
    wrong = data[:at] + struct.pack("<I", 2 * RATE) + data[at + 4 :]
    message = decoded(wrong[: len(wrong) // 3])[1]
    assert re.search(r"of (4\.9|5\.0) s could be read", message)  # the last block is filled up


def test_an_empty_data_chunk_among_others_is_skipped():
    found, message = decoded(make("wav") + b"data" + bytes(4) + second_chunk("wav") + b"data" + bytes(4))
    assert message is None
    assert is_both(found)


@pytest.mark.parametrize(("missing", "is_cut"), [(1_000_000_000, True), (8_000_000_000, True), (1 << 63, False)])
def test_an_rf64_file_declares_its_samples_in_64_bits(missing, is_cut):
    data = make("wav")
    at = data.index(b"data") + 8
    description = data[data.index(b"fmt ") + 8 : at - 8]
    header = iff.riff_header(b"RIFF", description, 5_000_000_000, "little")
    position = header.index(b"ds64") + 16
    header = header[:position] + struct.pack("<Q", len(data) - at + missing) + header[position + 8 :]
    (part,) = containers.parts(io.BytesIO(header + data[at:]))
    assert part.is_cut == is_cut


def test_a_file_is_found_after_a_second_data_chunk():
    found, message = decoded(make("wav") + second_chunk("wav") + make("wav"))
    assert message is None
    assert is_same(found, np.concatenate([BOTH, EXPECTED]), tolerance_s=0.25)


@pytest.mark.parametrize("kind", ["MAT4", "MAT5", "IRCAM"])
@pytest.mark.parametrize("scale", [1, 1e-3, 1e-6])
def test_samples_of_32_bits_are_not_taken_for_frames_of_mpeg(kind, scale):
    found, message = decoded(encoded(AUDIO * scale, RATE, kind, "PCM_32"))
    assert message is None
    assert is_same(found / scale, EXPECTED)


# Lengths in headers


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize("kind", ["wav", "wav-24", "wav-ulaw", "wav-ima", "wav-gsm", "wav-extensible"])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("total", [0, 8, 36, 0xFFFFFFFF])
def test_a_wav_file_whose_sizes_were_never_written(kind, size, total):
    data = make(kind)
    data = patched(data, 4, struct.pack("<I", total))
    data = patched(data, data.index(b"data") + 4, struct.pack("<I", size))
    found, message = decoded(data)
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("kind", ["wav", "wav-24", "wav-ulaw"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_wav_file_with_more_sound_than_its_header_says(kind, share):
    data = make(kind)
    at = data.index(b"data") + 4
    length = int(share * struct.unpack_from("<I", data, at)[0]) // 6 * 6
    found, message = decoded(patched(data, at, struct.pack("<I", length)))
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST\x04\x00\x00\x00INFO",
        b"LIST\xff\xff\x00\x00INFO" + bytes(3000),  # cut off
        b"TAG" + bytes(125),
        b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16),
        b"id3 ",
    ],
)
def test_what_follows_the_samples_is_no_sound(tail):
    data = make("wav")
    found, message = decoded(data + tail)
    assert message is None
    np.testing.assert_array_equal(found, decoded(data)[0])


def test_an_empty_wav_file_stays_empty():
    with pytest.raises(BadAudioError, match="contains no audio"):
        decoded(make("wav", np.zeros(0, np.float32)) + b"LIST\x04\x00\x00\x00INFO")


@pytest.mark.parametrize("kind", ["aiff", "aiff-float", "aiff-ulaw"])
@pytest.mark.parametrize("value", [0, 0xFFFFFFFF])
def test_an_aiff_file_whose_sizes_were_never_written(kind, value):
    data = make(kind)
    written = struct.pack(">I", value)
    data = patched(patched(data, 4, written), data.index(b"SSND") + 4, written)
    data = patched(data, data.index(b"COMM") + 10, written)
    found, message = decoded(data)
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("value", [0, 1000, 0xFFFFFFFF])
def test_an_au_file_whose_size_is_wrong(value):
    found, message = decoded(patched(make("au"), 8, struct.pack(">I", value)))
    assert message is None
    assert is_same(found, EXPECTED)


# Offset of the size of the samples, from the name of their chunk, and how it is written.
SIZES = {"caf": (b"data", 4, ">Q"), "caf-float": (b"data", 4, ">Q"), "w64": (b"data", 16, "<Q")}


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_more_sound_than_a_size_of_64_bits_says(kind, share):
    data, (name, offset, form) = make(kind), SIZES[kind]
    at = data.index(name) + offset
    (size,) = struct.unpack_from(form, data, at)
    found, message = decoded(patched(data, at, struct.pack(form, round(size * share))))
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("count", [b"10", b"1000", b"-5", b"x", b"9" * 30])
def test_more_sound_than_a_sphere_header_says(count):
    data = make("sphere")
    right = b"sample_count -i %d" % len(AUDIO)
    assert right in data
    wrong = (b"sample_count -i " + count).ljust(len(right), b" ")
    header = data[:1024].replace(right, wrong)[:1024]
    found, message = decoded(header + data[1024:])
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("kind", ["aiff", "aiff-ulaw", "aiff-ima"])
def test_an_aiff_file_that_describes_its_samples_after_them(kind):
    data = make(kind)
    at = data.index(b"COMM")
    end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    moved = data[:at] + data[end:] + data[at:end]
    found, message = decoded(moved + moved)
    assert message is None
    assert is_same(found, np.concatenate([EXPECTED, EXPECTED]))


@pytest.mark.parametrize(
    "header", [b".snd", b"caff\0\1\0\0", b"NIST_1A\n   1024\n", b"2BIT", b"\1\4", b"ALawSoundFile**\0"]
)
def test_a_header_and_no_sound_is_no_recording(header):
    for tail in (b"", bytes(10)):
        with pytest.raises(BadAudioError):
            list(read_blocks(io.BytesIO(header + tail), "x"))


def flac_with_total(data, total):
    at = data.index(b"fLaC") + 21
    return patched(data, at, bytes([data[at] & 0xF0 | total >> 32]) + (total & 0xFFFFFFFF).to_bytes(4, "big"))


@pytest.mark.parametrize("kind", ["flac", "flac-24"])
@pytest.mark.parametrize("total", [0, 1, RATE, (1 << 36) - 1])
def test_a_flac_file_of_unknown_or_wrong_length(kind, total):
    found, message = decoded(flac_with_total(make(kind), total))
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_flac_file_of_unknown_length_that_is_cut_off(share):
    data = flac_with_total(make("flac"), 0)
    found, message = decoded(data[: round(len(data) * share)])
    assert message is not None
    assert is_same(found, EXPECTED[: len(found)])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("length", [1, 200, 3000])
@pytest.mark.parametrize("total", [None, 0], ids=["known length", "unknown length"])
def test_damage_within_a_flac_file_costs_only_the_damaged_frames(share, length, total):
    data = bytearray(make("flac") if total is None else flac_with_total(make("flac"), total))
    at = round(share * len(data))
    data[at : at + length] = bytes(byte ^ 0x5A for byte in data[at : at + length])
    found, message = decoded(bytes(data))
    assert "damaged after" in message
    assert len(found) == pytest.approx(len(EXPECTED), abs=0.01 * SAMPLE_RATE)
    wrong = np.flatnonzero(np.abs(found[: len(EXPECTED)] - EXPECTED[: len(found)]) > 0.01)
    assert np.ptp(wrong) < 2.5 * SAMPLE_RATE * 4096 / RATE  # of at most three frames
    assert abs(wrong.mean() / len(EXPECTED) - share) < 0.25


def test_a_flac_file_with_damage_in_several_places():
    data = bytearray(make("flac", np.concatenate([AUDIO] * 4)))
    for share in (0.2, 0.5, 0.8):
        data[round(share * len(data))] ^= 0xFF
    found, message = decoded(bytes(data))
    assert "damaged after" in message
    assert len(found) == pytest.approx(4 * len(EXPECTED), abs=0.01 * SAMPLE_RATE)


@pytest.mark.parametrize(
    "junk", [bytes(4096), b"APETAGEX" + bytes(60), b"some text " * 30], ids=["zeros", "APE", "text"]
)
def test_what_follows_the_audio_of_a_flac_file_is_no_damage(junk):
    found, message = decoded(make("flac") + junk)
    assert message is None
    assert len(found) == pytest.approx(len(EXPECTED), abs=0.01 * SAMPLE_RATE)


def test_a_flac_file_with_tags_before_and_after():
    tag = b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048)
    for total in (0, len(AUDIO)):
        found, message = decoded(tag + flac_with_total(make("flac"), total) + b"TAG" + bytes(125))
        assert message is None
        assert is_same(found, EXPECTED)


# Ogg


def pages(data):
    """Start and end of each page."""
    found, at = [], 0
    while at < len(data):
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        found.append((at, end))
        at = end
    return found


def with_page(data, number, flags=None, granule=None):
    start, end = pages(data)[number]
    page = bytearray(data[start:end])
    if flags is not None:
        page[5] = flags
    if granule is not None:
        page[6:14] = granule.to_bytes(8, "little")
    page[22:26] = bytes(4)
    page[22:26] = containers.ogg._crc32(bytes(page)).to_bytes(4, "little")
    return data[:start] + bytes(page) + data[end:]


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_file_without_an_end_flag(kind):
    data = make(kind)
    found, message = decoded(with_page(data, -1, flags=0))
    assert message is None
    assert is_same(found, EXPECTED)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_file_that_claims_thousands_of_hours(kind, tmp_path):
    data = with_page(make(kind), -1, granule=2516 * 3600 * 48_000)
    found, message = decoded(data)
    assert message is None
    assert is_same(found, EXPECTED, tolerance_s=0.3)
    (tmp_path / "x.ogg").write_bytes(data)
    assert duration_s(tmp_path / "x.ogg") == pytest.approx(len(EXPECTED) / SAMPLE_RATE, abs=0.3)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_file_with_a_damaged_page_says_so(kind):
    """The decoder skips a page whose checksum is wrong, and says nothing."""
    data = bytearray(make(kind, np.tile(AUDIO, 12)))
    spans = pages(data)
    middle = spans[len(spans) // 2][0] + 300
    data[middle : middle + 40] = bytes(40)
    _, message = decoded(bytes(data))
    assert re.search(r"damaged: .* s of .* s could be read", message)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_an_ogg_file_whose_end_was_never_written_says_so(kind, filler):
    """As a download that was broken off, in a file that had its full size from the start."""
    data = make(kind, np.tile(AUDIO, 12))
    start, end = pages(data)[len(pages(data)) // 2]
    written = data[: (start + end) // 2]
    _, message = decoded(written + filler * (len(data) - len(written)))
    assert message is not None


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_file_with_a_page_lost(kind):
    data = make(kind, np.tile(AUDIO, 12))
    spans = pages(data)
    start, end = spans[len(spans) // 2]
    _, message = decoded(data[:start] + data[end:])
    assert message is not None


# MP3


def frames_of(data):
    file = io.BytesIO(data)
    return list(containers.mpeg._frames(file, containers.mpeg._first_frame(file, 0, len(data)), len(data)))


def without_info(data):
    """Without the frame that has the count."""
    first = frames_of(data)[0]
    assert containers.mpeg._frame_count(first[1]) is not None
    return data[first[0] + first[2].length :]


VBR = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("options", [{}, VBR])
def test_mp3_at_every_rate_with_and_without_a_count(rate, channels, options, capfd):
    audio = AUDIO[np.arange(int(len(AUDIO) / RATE * rate)) * RATE // rate]
    data = make("mp3", np.repeat(audio[:, None], channels, axis=1), rate, **options)
    for variant in (data, without_info(data)):
        found, message = decoded(variant)
        assert message is None
        assert is_same(found, EXPECTED, tolerance_s=0.2, correlation=0.9)
    assert capfd.readouterr().err == ""


def test_without_a_count_no_sample_moves():
    """libmpg123 takes off its delay if there is a count; the count that is added must change nothing."""
    data = without_info(make("mp3"))
    buffer = io.BytesIO(data)
    before = soundfile.read(buffer, dtype="float32")[0]
    after = np.concatenate([block for block, _ in containers_blocks(data)])[:, 0]
    count = min(len(before), len(after))
    np.testing.assert_allclose(after[:count], before[:count], atol=1e-6)


def containers_blocks(data):
    from device_app.audio.decoding import decoded as blocks

    return blocks(io.BytesIO(data), "x", 1.0)


def test_silence_before_speech_in_a_variable_bit_rate_adds_nothing_after_it():
    silence = np.zeros(8 * RATE, np.float32)
    found, message = decoded(without_info(make("mp3", np.concatenate([silence, AUDIO]), **VBR)))
    assert message is None
    assert is_same(found, np.concatenate([np.zeros(8 * SAMPLE_RATE, np.float32), EXPECTED]), tolerance_s=0.25)


@pytest.mark.parametrize("size", [5_000, 3_000_000])
@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_an_mp3_file_with_a_large_tag_and_no_count(size, place, capfd):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, size, np.uint8).tobytes()
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\x00\x00" + length + picture
    ape = b"APETAGEX\xd0\x07\x00\x00" + struct.pack("<IIQ", size + 32, 1, 0xA0000000) + picture + bytes(32)
    data = without_info(make("mp3"))
    made = {"before": tag + data, "after": data + ape, "between": data + tag + without_info(make("mp3", OTHER))}[place]
    found, message = decoded(made)
    assert message is None
    assert is_both(found) if place == "between" else is_same(found, EXPECTED, tolerance_s=0.25)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("count", [1, 50, 100_000, 0xFFFFFFFF])
def test_an_mp3_file_with_a_wrong_count(count):
    data = make("mp3")
    at = max(data.find(b"Info"), data.find(b"Xing")) + 8
    found, message = decoded(patched(data, at, struct.pack(">I", count)))
    assert (message is not None) == (count == 100_000)
    assert is_same(found, EXPECTED, tolerance_s=0.25)


def test_an_mp3_file_with_damage_in_the_middle_is_read_around_it(capfd):
    data = make("mp3")
    middle = len(data) // 2
    found, message = decoded(data[:middle] + b"\x00" * 1500 + data[middle + 1500 :])
    assert message is not None
    assert len(found) > 0.7 * len(EXPECTED)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_ends_in_an_error_of_ours(kind):
    rng = np.random.default_rng(1)
    whole = make(kind, AUDIO[: 2 * RATE])
    for _ in range(20):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 8):
            data[at] = rng.integers(256)
        try:
            for block in read_blocks(io.BytesIO(bytes(data)), "x"):
                assert len(block) < 100 * SAMPLE_RATE
        except (BadAudioError, IncompleteAudioError):
            pass


def test_random_bytes_are_no_audio():
    rng = np.random.default_rng(2)
    for magic in (b"", b"RIFF\x00\x00\x00\x00WAVE", b"FORM\x00\x00\x00\x00AIFF", b"fLaC", b"OggS", b".snd", b"ID3"):
        with pytest.raises(BadAudioError):
            list(read_blocks(io.BytesIO(magic + rng.integers(0, 128, 20_000, np.uint8).tobytes()), "x"))


def test_a_file_that_cannot_be_read_to_its_end_says_why(tmp_path):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 60_000:
                raise OSError(5, os.strerror(5))
            return super().read(size)

    data = make("wav", np.tile(AUDIO, 5))
    with pytest.raises(IncompleteAudioError, match="Input/output error"):
        list(read_blocks(Failing(data), "x", block_s=0.5))


@pytest.mark.parametrize("length", [28, 30, 40, 57])
def test_an_ogg_file_that_ends_within_its_first_page(length):
    with pytest.raises(BadAudioError):
        decoded(make("ogg")[:length])


def test_an_aiff_file_whose_sound_begins_behind_its_end():
    data = make("aiff")
    at = data.index(b"SSND") + 8
    with pytest.raises((BadAudioError, IncompleteAudioError)):
        list(read_blocks(io.BytesIO(data[:at] + (60_000).to_bytes(4, "big") + data[at + 4 : at + 2000]), "x"))
