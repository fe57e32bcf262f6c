"""Matroska and WebM: files of nested elements, each with an ID and a size (RFC 8794, RFC 9559).

FFmpeg skips from a damaged element to the next cluster, which begins up to five seconds later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import IO

from device_app.audio.containers.foreign.part import CUT, DAMAGED, ForeignPart, whole
from device_app.audio.containers.view import Span, View

EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
CLUSTER = b"\x1f\x43\xb6\x75"
TOP_IDS = (
    b"\x11\x4d\x9b\x74",  # SeekHead
    b"\x15\x49\xa9\x66",  # Info
    b"\x16\x54\xae\x6b",  # Tracks
    b"\x1c\x53\xbb\x6b",  # Cues
    b"\x10\x43\xa7\x70",  # Chapters
    b"\x12\x54\xc3\x67",  # Tags
    b"\x19\x41\xa4\x69",  # Attachments
)
SIMPLE_BLOCK, BLOCK_GROUP, VOID, CRC = b"\xa3", b"\xa0", b"\xec", b"\xbf"
# Timestamp, Position, PrevSize, SilentTracks
CLUSTER_IDS = (SIMPLE_BLOCK, BLOCK_GROUP, VOID, CRC, b"\xe7", b"\xa7", b"\xab", b"\x58\x54")
_CANDIDATE = re.compile(rb"[\xa3\xa0]|\x1f\x43\xb6\x75")

MAX_ELEMENTS = 5_000_000
MAX_REPAIRS = 1000
SEARCH = 1 << 20  # bytes read at once in a search
CHAIN = 4  # elements in a row that show where they go on after damage


def parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """A part for each of joined files; what is damaged between its blocks becomes an element to skip.

    None if it is not Matroska.
    """
    if file.read(4) != EBML:
        return None
    starts, hidden, is_cut, is_damaged = _structure(file, size)
    if starts == [0] and not hidden:
        return [whole(file, size, CUT if is_cut else DAMAGED if is_damaged else None)]
    found = []
    for start, end in pairwise([*starts, size]):
        inside = [(first, last) for first, last in hidden if start <= first < end]
        fault = DAMAGED if inside or (is_damaged and end == size) else None
        if is_cut and end == size:
            fault = CUT
        found.append(ForeignPart(View(file, _spans(start, end, inside)), fault))
    return found


def _spans(position: int, size: int, hidden: Sequence[tuple[int, int]]) -> list[Span]:
    """The bytes from `position` to `size`, with an element to skip in the place of each hidden range."""
    spans: list[Span] = []
    for start, end in hidden:
        header = VOID + ((1 << 56) + end - start - 9).to_bytes(8, "big")
        if end - start < len(header):
            header = VOID + bytes([0x80 + end - start - 2])
        spans += [(position, start - position), header]
        position = start + len(header)
    return [*spans, (position, size - position)]


def _structure(file: IO[bytes], size: int) -> tuple[list[int], list[tuple[int, int]], bool, bool]:
    """Where joined files begin, and the damage.

    Returns:
        Offsets of the files; starts and ends of what is damaged between elements; whether the last file is cut off;
        whether more of it is damaged than can be hidden.
    """
    starts: list[int] = []
    hidden: list[tuple[int, int]] = []
    # `before` is where the element before `position` begins; `cluster_end` is 0 outside of clusters.
    position, before, segment_end, cluster_end = 0, 0, size, 0
    is_cut = is_ended = False  # the latter: the last segment has ended where its size says
    for _ in range(MAX_ELEMENTS):
        if position >= size:
            break
        if position >= segment_end:  # joined files have several segments
            segment_end, cluster_end, is_ended = size, 0, True
        cluster_end = cluster_end if position < cluster_end else 0
        element = _element(file, position)
        is_known = element is not None and (element[0] in (EBML, SEGMENT, CLUSTER, *TOP_IDS, VOID, CRC) or cluster_end)
        end = element[2] if element is not None else None
        if element is not None and element[0] == EBML:
            starts.append(position)
            segment_end, cluster_end = size, 0  # those of a file that was joined to one of unknown size
        if element is not None and is_known and element[0] in (SEGMENT, CLUSTER):
            before, position = position, element[1]
            if element[0] == SEGMENT:
                segment_end, is_ended = size if end is None else min(end, size), False
                is_cut |= end is not None and end > size
            else:
                cluster_end = segment_end if end is None else min(end, segment_end)
                is_cut |= end is not None and end > size
        elif is_known and end is not None and end <= (cluster_end or segment_end):
            before, position = position, end
        elif is_cut and end is not None and end > size:  # the last block
            break
        else:
            # The size of the element before may be damaged, so the search begins in it; an element has 2 bytes or more.
            following = _next_element(file, before + 2, size, in_cluster=bool(cluster_end))
            if following is None and is_ended:  # only a tag or padding follows
                break
            if following is None or len(hidden) == MAX_REPAIRS:
                return starts, hidden, is_cut, True
            start = position if position + 2 <= following else before
            hidden.append((start, following))
            before = position = following
    return starts, hidden, is_cut, False


def _element(file: IO[bytes], position: int) -> tuple[bytes, int, int | None] | None:
    """ID of an element, where its content begins, and its end (None: unknown size). None if it is of no known ID."""
    file.seek(position)
    header = file.read(16)
    width = 9 - header[0].bit_length() if header else 9
    name = header[:width]
    if name not in (EBML, SEGMENT, CLUSTER, *TOP_IDS, *CLUSTER_IDS):
        return None
    size = header[width:]
    if not size or not size[0]:
        return None
    count = 9 - size[0].bit_length()
    value = int.from_bytes(size[:count], "big") & ((1 << 7 * count) - 1)
    content_at = position + width + count
    if value == (1 << 7 * count) - 1:
        return (name, content_at, None) if name in (SEGMENT, CLUSTER) else None
    if name == SIMPLE_BLOCK and len(size) >= count + 5:
        flags = size[count + 3 if size[count] & 0x80 else count + 4]  # after the track's number, of one or two bytes
        if value < 4 or not size[count] & 0xC0 or flags & 0x70:
            return None
    return name, content_at, content_at + value


def _next_element(file: IO[bytes], start: int, size: int, *, in_cluster: bool) -> int | None:
    """Position of the next cluster, or block within one, that others follow; None if there is none."""
    while start < size:
        file.seek(start)
        block = file.read(SEARCH)
        for match in _CANDIDATE.finditer(block):
            if (in_cluster or match[0] == CLUSTER) and _is_chain(file, start + match.start(), size):
                return start + match.start()
        if len(block) < SEARCH:
            break
        start += SEARCH - 3
    return None


def _is_chain(file: IO[bytes], position: int, size: int) -> bool:
    for count in range(CHAIN):
        if position == size:
            return count > 0
        element = _element(file, position)
        if element is None:
            return False
        name, content_at, end = element
        if name in (SEGMENT, CLUSTER):
            position = content_at
        elif end is None or end > size:
            return False
        else:
            position = end
    return True
