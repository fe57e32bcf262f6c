"""The parameters of a transcription request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile

from device_app.data.terms import Term
from device_app.service.errors import ServiceError
from device_app.service.models import NAME
from device_app.service.parameters.keyterms import keyterms_of
from editing.errors import one_line

# The values of parameters.
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAMED = ("json", "text", "verbose_json")  # the formats that can be streamed
GRANULARITIES = ("segment", "word")
TRUE = ("true", "1", "True")
FALSE = ("", "false", "0", "False")


@dataclass(frozen=True)
class TranscriptionRequest:
    """A transcription request. Other parameters of OpenAI's, such as the temperature, have no effect.

    Attributes:
        file: the recording.
        model: the name of the model.
        language: see `check_language`; empty for any.
        keyterms: the terms of the parameter "prompt".
        response_format: one of `FORMATS`.
        stream: whether to send each segment as soon as it is recognised.
        granularities: which times "verbose_json" has, of `GRANULARITIES`.
    """

    file: UploadFile
    model: str
    language: str
    keyterms: Sequence[Term]
    response_format: str
    stream: bool
    granularities: frozenset[str]

    @classmethod
    def of(cls, form: FormData) -> TranscriptionRequest:
        """Reads a form.

        Raises:
            ServiceError: a parameter is missing or has a value that the service does not support.
        """
        file = _file(form)
        response_format = _choice("response_format", _text(form, "response_format", "json"), FORMATS)
        stream = _choice("stream", _text(form, "stream", ""), TRUE + FALSE) in TRUE
        if stream and response_format not in STREAMED:
            raise ServiceError(400, f"stream: {response_format} cannot be streamed", parameter="stream")
        given = [*form.getlist("timestamp_granularities[]"), *form.getlist("timestamp_granularities")]
        chosen = frozenset(_choice("timestamp_granularities", str(one), GRANULARITIES) for one in given)
        return cls(
            file,
            _text(form, "model", NAME),
            _text(form, "language", ""),
            keyterms_of(_text(form, "prompt", "")),
            response_format,
            stream,
            chosen or frozenset({"segment"}),
        )


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if isinstance(file, UploadFile):
        if not file.size:
            raise ServiceError(400, "file: is empty; send a recording", parameter="file")
        return file
    if file is not None:
        reason = "file: is a text, not a recording; send the recording as a file (with curl: -F file=@talk.m4a)"
    else:
        others = ", ".join(one_line(name, 30) for name in list(form)[:5])
        found = f"the form has only {others}" if others else "the form is empty"
        reason = f"file: the recording is missing, {found}; send it as a file in the field file"
    raise ServiceError(400, reason, parameter="file")


def _text(form: FormData, name: str, default: str) -> str:
    value = form.get(name, default)
    if not isinstance(value, str):
        raise ServiceError(400, f"{name}: is a file; expected a text", parameter=name)
    return value


def _choice(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        shown = ", ".join(choice for choice in choices if choice)
        raise ServiceError(400, f"{name}: {value[:60]!r} is not one of {shown}", parameter=name)
    return value
