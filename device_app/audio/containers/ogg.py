"""Ogg (Vorbis, Opus, FLAC, Speex): joined files, a missing end flag, and pages that are cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO

from device_app.audio.containers.checksum import checksum
from device_app.audio.containers.view import Part, Span, View

CAPTURE = b"OggS"
HEADER = 27  # bytes of a page before its segment table (RFC 3533, section 6)
CONTINUED, FIRST, LAST = 1, 2, 4  # flags

_crc32 = checksum(32, 0x04C11DB7)  # of a page


@dataclass
class _Link:
    """A chained stream: from its first page to the page before the next stream's first."""

    start: int  # offsets in bytes
    end: int = 0
    has_data: bool = False  # it has pages after the first ones of its streams
    last_page: int = 0  # offset in bytes
    last_flags: int = 0
    pages: dict[int, int] = field(default_factory=dict)  # sequence number of each stream's latest page
    # Offset and length in bytes of what a decoder must not get: pages that were there before, after which libsndfile
    # would stop as many samples before the end, and what is no page, after which it would drop a page.
    left_out: list[tuple[int, int]] = field(default_factory=list)
    places: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # of pages, by stream and number
    has_gap: bool = False  # pages are missing
    fragment: bytes = b""  # if the last page is cut off, a page of its whole packets


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each chained stream; None if the file does not begin with an Ogg page."""
    if file.read(4) != CAPTURE:
        return None
    links: list[_Link] = []
    position, is_cut = 0, False
    while position < size:
        file.seek(position)
        header = file.read(HEADER)
        if header[:4] != CAPTURE:
            following = _next_page(file, position + 1, size)
            if links:
                links[-1].left_out.append((position, following - position))
            position = following
            continue
        table = file.read(header[26]) if len(header) == HEADER else b""
        end = position + HEADER + len(table) + sum(table)
        if len(header) < HEADER or len(table) < header[26]:
            is_cut = True
            break
        flags = header[5]
        if not links or (flags & FIRST and links[-1].has_data):
            links.append(_Link(position))
        if end > size:
            is_cut = True
            links[-1].fragment = _whole_packets(header, table, file.read())
            break
        _add_page(file, links[-1], header, position, end)
        position = end
    if links and not links[-1].end and not links[-1].fragment:  # it ends within its first page
        links.pop()
    return [
        Part(
            _view(file, link),
            # A file whose second half was never written, but has its size, ends within a page.
            is_cut=link.has_gap or (is_cut and link is links[-1]) or not _ends_with_whole_page(file, link),
            is_ogg=True,
        )
        for link in links
    ] or None


def _ends_with_whole_page(file: IO[bytes], link: _Link) -> bool:
    return bool(link.fragment) or _is_intact(file, link.last_page, link.end - link.last_page)


def _add_page(file: IO[bytes], link: _Link, header: bytes, start: int, end: int) -> None:
    serial, number = int.from_bytes(header[14:18], "little"), int.from_bytes(header[18:22], "little")
    before = link.pages.get(serial)
    if before is not None and 2 <= number <= before:
        _leave_out_one(file, link, (serial, number), (start, end - start))
        return
    link.places[serial, number] = start, end - start
    # Some writers begin with any number, and in a live broadcast the numbers jump after the headers (up to page 2).
    link.has_gap |= before is not None and before >= 2 and number > before + 1
    link.pages[serial] = number
    link.has_data |= not header[5] & FIRST
    link.last_page, link.last_flags, link.end = start, header[5], end


def _leave_out_one(file: IO[bytes], link: _Link, page: tuple[int, int], place: tuple[int, int]) -> None:
    """Of two pages with one number, the later is left out, unless the earlier is damaged."""
    earlier = link.places.get(page)
    if earlier is None or _is_intact(file, *earlier) or not _is_intact(file, *place):
        link.left_out.append(place)
        return
    link.left_out.append(earlier)
    link.places[page] = place
    link.end = max(link.end, sum(place))


def _is_intact(file: IO[bytes], start: int, length: int) -> bool:
    """Whether the checksum of a page fits."""
    file.seek(start)
    page = file.read(length)
    return _with_checksum(page) == page


def _next_page(file: IO[bytes], position: int, size: int) -> int:
    """Offset of the next page from `position`; `size` if there is none."""
    file.seek(position)
    rest = b""
    while data := file.read(1 << 16):
        searched = rest + data
        at = searched.find(CAPTURE)
        if at >= 0:
            return position - len(rest) + at
        position += len(data)
        rest = searched[-3:]
    return size


def _view(file: IO[bytes], link: _Link) -> View:
    """The link as a file; its last page says that it is the last, from which a decoder takes the length."""
    if link.fragment:
        return View(file, [*_spans(link, link.end), link.fragment])
    if link.last_flags & LAST:
        return View(file, _spans(link, link.end))
    file.seek(link.last_page)
    page = file.read(link.end - link.last_page)
    return View(file, [*_spans(link, link.last_page), _as_last(page)])


def _spans(link: _Link, end: int) -> list[Span]:
    """The bytes of a link up to the offset `end`, without what is left out."""
    spans: list[Span] = []
    position = link.start
    for start, length in sorted(link.left_out):
        if start < end:
            spans.append((position, start - position))
            position = start + length
    return [*spans, (position, end - position)]


def _as_last(page: bytes) -> bytes:
    """The page with the end flag and a checksum that fits."""
    return _with_checksum(page[:5] + bytes([page[5] | LAST]) + page[6:])


def _with_checksum(page: bytes) -> bytes:
    zeroed = page[:22] + bytes(4) + page[26:]
    return page[:22] + _crc32(zeroed).to_bytes(4, "little") + page[26:]


def _whole_packets(header: bytes, table: bytes, body: bytes) -> bytes:
    """The beginning of a page, as a page of the packets that are whole in it; empty if there are none."""
    used, length, packets_end, packets_length = 0, 0, 0, 0
    for segment in table:
        used, length = used + 1, length + segment
        if length > len(body):
            break
        if segment < 255:  # a packet ends here
            packets_end, packets_length = used, length
    if not packets_end:
        return b""
    page = header[: HEADER - 1] + bytes([packets_end]) + table[:packets_end] + body[:packets_length]
    return _as_last(page)
