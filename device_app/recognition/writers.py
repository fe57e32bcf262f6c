"""Transcripts as text, JSON, subtitles and tab-separated values. The JSON formats call a segment an utterance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from editing.printable import printable

if TYPE_CHECKING:  # imported late, because the command line imports this module at its start, for `Format`
    from device_app.recognition.results import Transcript, TranscriptSegment


class Format(StrEnum):
    """The formats of `asr-edge transcribe`; the values are also the suffixes of files."""

    TXT = "txt"
    JSON = "json"
    JSONL = "jsonl"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"


def render(transcript: Transcript, output_format: Format, name: str) -> str:
    """Renders a transcript in one of the formats; the result ends in a line break unless it is empty.

    Args:
        transcript: the transcript of a recording.
        output_format: one of the formats.
        name: the name of the recording, which JSON and JSONL include.
    """
    return _RENDERERS[output_format](transcript, name)


def document(transcript: Transcript, name: str) -> dict[str, Any]:
    """A transcript as a JSON object: file, duration_s, text, and "utterances" (its segments; see `segment_record`).

    Where replacements have changed a text, "raw_text" is the decoded one.
    """
    return {
        "file": name,
        "duration_s": round(transcript.duration_s, 3),
        "text": transcript.text,
        **_raw_text(transcript.text, " ".join(segment.decoded_text for segment in transcript.segments)),
        "utterances": [segment_record(segment) for segment in transcript.segments],
    }


def segment_record(segment: TranscriptSegment) -> dict[str, Any]:
    """A segment as a JSON object: start_s, end_s, text, words (text, start_s, end_s, confidence)."""
    return {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "text": segment.text,
        **_raw_text(segment.text, segment.decoded_text),
        "words": [
            {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(word).items()}
            for word in segment.words
        ],
    }


def _raw_text(text: str, decoded: str) -> dict[str, str]:
    return {} if text == decoded else {"raw_text": decoded}


def json_line(segment: TranscriptSegment, name: str) -> str:
    """A segment as one line of JSON, without the line break: "file" and the keys of `segment_record`."""
    return printable(json.dumps({"file": name, **segment_record(segment)}, ensure_ascii=False))


def timestamp(seconds: float, separator: str) -> str:
    """Formats a time as HH:MM:SS, `separator` and milliseconds.

    >>> timestamp(3723.0456, ",")
    '01:02:03,046'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"


def _txt(transcript: Transcript, _name: str) -> str:
    return _lines(segment.text for segment in transcript.segments)


def _json(transcript: Transcript, name: str) -> str:
    # A name that is not UTF-8 is escaped; parsing the document restores it.
    return printable(json.dumps(document(transcript, name), ensure_ascii=False, indent=2), keep="\n") + "\n"


def _jsonl(transcript: Transcript, name: str) -> str:
    return _lines(json_line(segment, name) for segment in transcript.segments)


def _srt(transcript: Transcript, _name: str) -> str:
    from device_app.recognition.subtitles import cues

    return _lines(
        f"{number}\n{timestamp(cue.start_s, ',')} --> {timestamp(cue.end_s, ',')}\n{_lines(cue.lines)}"
        for number, cue in enumerate(cues(transcript.words), 1)
    )


def _vtt(transcript: Transcript, _name: str) -> str:
    from device_app.recognition.subtitles import cues

    # A player would read "-->" in a text as a cue timing, and "<" and "&" as markup.
    escaped = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    return "WEBVTT\n\n" + _lines(
        f"{timestamp(cue.start_s, '.')} --> {timestamp(cue.end_s, '.')}\n{_lines(cue.lines).translate(escaped)}"
        for cue in cues(transcript.words)
    )


def _tsv(transcript: Transcript, _name: str) -> str:
    from device_app.recognition.subtitles import cues

    rows = (f"{round(c.start_s * 1000)}\t{round(c.end_s * 1000)}\t{c.text}" for c in cues(transcript.words))
    return "start\tend\ttext\n" + _lines(rows)


def _lines(lines: Iterable[str]) -> str:
    """Joins lines, with a line break after each. A cue ends in one already, so an empty line follows it."""
    return "".join(f"{line}\n" for line in lines)


_RENDERERS: Mapping[Format, Callable[[Transcript, str], str]] = {
    Format.TXT: _txt,
    Format.JSON: _json,
    Format.JSONL: _jsonl,
    Format.SRT: _srt,
    Format.VTT: _vtt,
    Format.TSV: _tsv,
}
