"""The parameters of a transcription request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile

from device_app.data.terms import Term
from device_app.service.errors import ServiceError
from device_app.service.keyterms import keyterms_of
from device_app.service.models import NAME

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAMED = ("json", "text", "verbose_json")
LANGUAGES = ("", "auto", "en", "english")
GRANULARITIES = ("segment", "word")
TRUE = ("true", "1", "True")
FALSE = ("", "false", "0", "False")


@dataclass(frozen=True)
class TranscriptionRequest:
    """A transcription request. Other parameters of OpenAI's, such as the temperature, have no effect."""

    file: UploadFile
    model: str
    keyterms: Sequence[Term]
    response_format: str
    stream: bool
    granularities: frozenset[str]

    @classmethod
    def of(cls, form: FormData) -> TranscriptionRequest:
        """
        Raises:
            ServiceError: a parameter is missing or has a value that the service does not support.
        """
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ServiceError(400, "file: the recording is missing", parameter="file")
        language = _text(form, "language", "")
        if language.lower().partition("-")[0] not in LANGUAGES:
            raise ServiceError(
                400, f"language: {language!r} is not supported; the model is English", parameter="language"
            )
        response_format = _choice("response_format", _text(form, "response_format", "json"), FORMATS)
        stream = _choice("stream", _text(form, "stream", ""), TRUE + FALSE) in TRUE
        if stream and response_format not in STREAMED:
            raise ServiceError(400, f"stream: {response_format} cannot be streamed", parameter="stream")
        given = [*form.getlist("timestamp_granularities[]"), *form.getlist("timestamp_granularities")]
        chosen = frozenset(_choice("timestamp_granularities", str(one), GRANULARITIES) for one in given)
        return cls(
            file,
            _text(form, "model", NAME),
            keyterms_of(_text(form, "prompt", "")),
            response_format,
            stream,
            chosen or frozenset({"segment"}),
        )


def _text(form: FormData, name: str, default: str) -> str:
    value = form.get(name, default)
    if not isinstance(value, str):
        raise ServiceError(400, f"{name}: expected a text", parameter=name)
    return value


def _choice(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        shown = ", ".join(choice for choice in choices if choice)
        raise ServiceError(400, f"{name}: {value[:60]!r} is not one of {shown}", parameter=name)
    return value
