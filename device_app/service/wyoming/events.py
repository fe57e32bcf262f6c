"""Reads Wyoming events within limits; the package's own reader would buffer whatever length a client announces."""

from __future__ import annotations

import asyncio
from typing import Any

from wyoming.event import Event

from device_app.service.errors import ServiceError
from editing.json_text import JSONTextError, is_whole_number, parse_json

MOST_DATA = 256 << 10  # bytes of JSON that follow the header of an event


async def read_event(reader: asyncio.StreamReader, most_payload: int) -> Event | None:
    """Reads the next event; None at the end of the connection.

    Args:
        reader: its `limit` is the largest length of a header line.
        most_payload: the largest length of an event's audio, in bytes.

    Raises:
        ServiceError: what arrived is not an event, or is too large.
    """
    try:
        line = await reader.readline()
        if not line:
            return None
        header = _object(line)
        data = header.get("data") or {}
        if not isinstance(data, dict):
            raise ServiceError(400, "the data of an event is not an object")
        if size := _length(header, "data_length", MOST_DATA):
            data = {**data, **_object(await reader.readexactly(size))}
        size = _length(header, "payload_length", most_payload)
        payload = await reader.readexactly(size) if size else None
    except asyncio.IncompleteReadError:
        return None
    except (JSONTextError, ValueError, TypeError) as error:  # asyncio's ValueError: the line is too long
        raise ServiceError(400, "not a Wyoming event") from error
    kind = header.get("type")
    if not isinstance(kind, str):
        raise ServiceError(400, "an event without a type")
    return Event(kind, data, payload)


def _object(text: bytes) -> dict[str, Any]:
    """
    Raises:
        JSONTextError: the text is not a JSON object.
    """
    found = parse_json(text)
    if not isinstance(found, dict):
        raise JSONTextError("not an object")
    return found


def _length(header: dict[str, Any], name: str, most: int) -> int:
    """A length in bytes from a header; 0 if the header does not have it.

    Raises:
        JSONTextError: it is not a length.
        ServiceError: it is larger than `most`.
    """
    size = header.get(name) or 0
    if not isinstance(size, int) or not is_whole_number(size):
        raise JSONTextError(f"{name} is not a length")
    if size > most:
        raise ServiceError(413, f"an event may have {most} bytes of {name.partition('_')[0]} at most")
    return size
