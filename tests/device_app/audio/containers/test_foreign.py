"""The structure of the files that FFmpeg reads: joined files, damaged places, ends that are missing."""

import io
import struct

import pytest

from device_app.audio.containers import is_foreign
from device_app.audio.containers.foreign import parts, raw
from device_app.audio.containers.foreign.part import CUT, DAMAGED


def box(kind, content=b""):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def found(data):
    """(content, fault) of each part."""
    return [(part.file.read(), part.fault) for part in parts(io.BytesIO(data))]


MP4 = box(b"ftyp", b"M4A ") + box(b"moov", bytes(40)) + box(b"mdat", b"sound" * 9)


def test_joined_mp4_files_are_split():
    assert found(MP4 + MP4) == [(MP4, None)] * 2
    assert found(MP4) == [(MP4, None)]


def test_a_segment_that_begins_with_ftyp_is_no_file_of_its_own():
    data = MP4 + box(b"ftyp", b"msdh") + box(b"moof", bytes(9)) + box(b"mdat", bytes(9))
    assert found(data) == [(data, None)]


def test_a_damaged_box_is_hidden_and_nothing_moves():
    broken = MP4 + b"\xff" * 8 + bytes(100)
    data = broken + box(b"moof", bytes(9)) + box(b"mdat", bytes(50))
    ((content, fault),) = found(data)
    assert fault == DAMAGED
    assert len(content) == len(data)
    assert content[len(MP4) : len(MP4) + 16] == struct.pack(">I4sQ", 1, b"free", 108)
    assert content[len(broken) :] == data[len(broken) :]


def test_a_box_of_a_vendor_is_no_damage():
    data = MP4[:-53] + box(b"Xtra", bytes(20)) + MP4[-53:]
    assert found(data) == [(data, None)]


VENDOR = box(b"beam", bytes(20)) + box(b"thmb", bytes(9))
TAIL = [b"\n", bytes(4), bytes(500), b"TAG" + bytes(125), VENDOR]


@pytest.mark.parametrize("tail", TAIL)
def test_what_follows_a_complete_mp4_file_is_no_damage(tail):
    assert found(MP4 + tail) == [(MP4 + tail, None)]


def test_a_file_that_follows_a_tag_is_found():
    assert len(found(MP4 + b"TAG" + bytes(125) + MP4)) == 2


def test_boxes_of_a_vendor_between_fragments_and_at_the_end_are_no_damage():
    fragment = box(b"moof", bytes(9)) + box(b"mdat", bytes(9))
    data = MP4 + fragment + VENDOR + fragment + VENDOR
    assert found(data) == [(data, None)]
    assert found(MP4 + fragment + bytes(500))[0][1] == DAMAGED  # fragments may have been there


@pytest.mark.parametrize("length", [len(MP4) - 1, len(MP4) - 20])
def test_an_mp4_file_whose_last_box_is_not_complete_is_cut_off(length):
    assert found(MP4[:length]) == [(MP4[:length], CUT)]


def frame(length=32, mode=0x3C):
    return bytes([mode]) + bytes(length - 1)


AMR = b"#!AMR\n" + frame() * 20
AMR_WB = b"#!AMR-WB\n" + frame(61, 0x44) * 20


def test_joined_amr_files_are_one_stream():
    assert found(AMR + AMR) == [(AMR + frame() * 20, None)]
    assert found(AMR + AMR_WB + AMR) == [(AMR, None), (AMR_WB, None), (AMR, None)]


def test_damaged_frames_of_amr_become_frames_without_sound():
    ((content, fault),) = found(AMR + b"\xff" * 64 + frame() * 20)
    assert content == AMR + raw.AMR_NO_DATA * 2 + frame() * 20
    assert "damaged" in fault


def test_each_damage_of_amr_is_filled_by_its_own_length():
    damage = b"\xff" * 32 * 100
    ((content, _),) = found(AMR + damage + frame() * 20 + damage + frame() * 20)
    assert content.count(raw.AMR_NO_DATA) == 200


def test_an_incomplete_last_frame_is_reported_and_left_out():
    assert found(AMR[:-5]) == [(AMR[:-32], "its last frame is not complete")]
    assert parts(io.BytesIO(AMR[:-5]))[0].fault_s == pytest.approx(19 * 0.02)


def adts(length=200):
    return bytes([0xFF, 0xF1, 0x50, 0x80 | length >> 11, length >> 3 & 255, (length & 7) << 5, 0]) + bytes(length - 7)


def ac3(code=8, rate=0):
    return b"\x0b\x77\0\0" + bytes([rate << 6 | code, 8 << 3]) + bytes(4 * 64 - 6)  # 64 kbit/s at 48 kHz


@pytest.mark.parametrize("one", [adts(), ac3()])
def test_frames_of_aac_and_ac3_are_checked(one):
    assert found(one * 9) == [(one * 9, None)]
    assert found(one * 9 + one[:50]) == [(one * 9 + one[:50], "its last frame is not complete")]
    assert found(one * 9 + b"\1" * 70 + one * 9)[0][1] == "some of its frames are damaged"


@pytest.mark.parametrize(
    "tag", [b"ID3\4\0\0\0\0\0\x10" + b"\xff\xf1" * 8, b"TAG" + bytes(125), b"APETAGEX" + bytes(99)]
)
def test_tags_between_and_after_frames_are_no_damage(tag):
    data = adts() * 9 + tag
    assert found(data) == [(adts() * 9, None)]  # FFmpeg would take the tag for a damaged frame
    if tag.startswith(b"ID3"):
        assert found(tag + data + adts() * 9)[0][1] is None


def test_frames_behind_a_tag_are_a_file_of_their_own():
    assert found(b"ID3\4\0\0\0\0\x10\0" + bytes(2048) + adts() * 9) == [(adts() * 9, None)]


@pytest.mark.parametrize("start", [box(b"wide"), box(b"skip", bytes(9)), (bytes(4) + b"G" + bytes(187)) * 3])
def test_old_mov_files_and_m2ts_are_not_searched_for_other_formats(start):
    assert is_foreign(io.BytesIO(start))


GUIDS = {"header": "3026b2758e66cf11a6d900aa0062ce6c", "data": "3626b2758e66cf11a6d900aa0062ce6c"}


def asf(kind, content, length=None):
    return bytes.fromhex(GUIDS[kind]) + struct.pack("<Q", 24 + len(content) if length is None else length) + content


WMA = asf("header", bytes(40)) + asf("data", bytes(500))


def test_joined_wma_files_are_split():
    assert found(WMA * 3) == [(WMA, None)] * 3
    assert found(WMA + WMA[:-9]) == [(WMA, None), (WMA[:-9], CUT)]


def test_a_live_wma_stream_has_no_length():
    live = asf("header", bytes(40)) + asf("data", bytes(500), 0)
    assert found(live) == [(live, None)]


EBML = b"\x1a\x45\xdf\xa3\x80"


def element(name, content, width=1):
    size = (1 << 7 * width | len(content)).to_bytes(width, "big")
    return name + size + content


def block(number):
    return element(b"\xa3", b"\x81\0" + bytes([number, 0x80]) + b"s" * 60)


def webm(blocks, tail=b""):
    cluster = element(b"\x1f\x43\xb6\x75", element(b"\xe7", b"\0") + blocks, 8)
    return EBML + element(b"\x18\x53\x80\x67", cluster + tail, 8)


BLOCKS = [block(number) for number in range(12)]


def test_damage_between_blocks_of_matroska_is_hidden():
    whole = webm(b"".join(BLOCKS))
    assert found(whole) == [(whole, None)]
    at = whole.index(BLOCKS[5])
    ((content, fault),) = found(whole[: at - 10] + b"\xff" * 20 + whole[at + 10 :])
    assert fault == DAMAGED
    assert len(content) == len(whole)
    assert content[at] == 0xEC
    assert content.endswith(b"".join(BLOCKS[6:]))


def test_matroska_that_is_cut_off_joined_or_live():
    whole = webm(b"".join(BLOCKS))
    assert found(whole[:-30])[0][1] == CUT
    assert found(whole + whole) == [(whole, None), (whole, None)]
    at = whole.index(b"\x18\x53\x80\x67") + 4
    live = whole[:at] + b"\x01" + b"\xff" * 7 + whole[at + 8 :]  # of unknown size, as browsers record
    assert found(live) == [(live, None)]
    assert found(live + live) == [(live, None), (live, None)]
    assert found(live + whole[:-30])[1][1] == CUT


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


AVI = chunk(
    b"RIFF", b"AVI " + chunk(b"LIST", b"hdrl" + bytes(20)) + chunk(b"LIST", b"movi" + chunk(b"00wb", b"x" * 51) * 9)
)


def test_avi_that_is_cut_off_or_damaged():
    assert found(AVI) == [(AVI, None)]
    assert found(AVI * 2) == [(AVI * 2, None)]
    assert found(AVI[:-70])[0][1] == CUT
    at = AVI.rindex(b"00wb")
    assert found(AVI[:at] + b"\xff" * 9 + AVI[at + 9 :])[0][1] == DAMAGED
    assert found(AVI[:at] + bytes(len(AVI) - at))[0][1] == DAMAGED
    unfinished = AVI[:4] + bytes(4) + AVI[8:-70]
    assert found(unfinished)[0][1] is None


@pytest.mark.parametrize("tail", [*TAIL, chunk(b"_PMX", b"<xmp>")])
def test_what_follows_an_avi_file_is_no_damage(tail):
    assert found(AVI + tail) == [(AVI + tail, None)]


@pytest.mark.parametrize("tail", TAIL)
def test_what_follows_a_matroska_file_is_no_damage(tail):
    data = webm(b"".join(BLOCKS)) + tail
    assert found(data) == [(data, None)]
    assert found(data + webm(b"".join(BLOCKS)))[0][1] == DAMAGED  # FFmpeg reads the second, but not what is between


def test_the_number_of_a_track_of_matroska_may_take_two_bytes():
    blocks = b"".join(element(b"\xa3", b"\x40\x85\0" + bytes([number, 0x80]) + b"s" * 60) for number in range(9))
    assert found(webm(blocks)) == [(webm(blocks), None)]


def flv(kind=8, content=b"x" * 90):
    return bytes([kind]) + len(content).to_bytes(3, "big") + bytes(7) + content + (11 + len(content)).to_bytes(4, "big")


def test_flv_that_is_cut_off_or_damaged():
    data = b"FLV\1\4\0\0\0\x09\0\0\0\0" + flv() * 5
    assert found(data)[0][1] is None
    assert found(data[:-40])[0][1] == CUT
    assert found(data[:200] + b"\xff" * 60 + data[260:])[0][1] == DAMAGED


def test_flv_of_other_writers_is_no_damage():
    start = b"FLV\1\4\0\0\0\x09\0\0\0\0"
    without_header = flv()[:-4] + (90).to_bytes(4, "big")
    assert found(start + without_header * 5)[0][1] is None
    assert found(start + flv() * 3 + flv(15) + flv())[0][1] is None
    assert found(start + flv() * 3 + b"\x0f" + b"\xff" * 60)[0][1] == DAMAGED


def test_joined_flv_files_are_split():
    data = b"FLV\1\4\0\0\0\x09\0\0\0\0" + flv() * 5
    assert found(data + data[:-40]) == [(data, None), (data[:-40], CUT)]


@pytest.mark.parametrize(("length", "first"), [(188, 0), (192, 4)])
def test_transport_streams_that_are_cut_off_or_damaged(length, first):
    data = (bytes(first) + b"G" + bytes(length - first - 1)) * 20
    assert found(data)[0][1] is None
    assert found(data[:-50])[0][1] == CUT
    assert found(data[: 9 * length] + b"\xff" * 60 + data[9 * length + 60 :])[0][1] == DAMAGED
