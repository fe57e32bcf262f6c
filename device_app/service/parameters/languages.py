"""The language of a request. A model writes one language, so another one is refused."""

from __future__ import annotations

from device_app.service.errors import ServiceError
from export.bundle import DEFAULT_LANGUAGE

ANY = ("", "auto")  # values of a request that accept any language
NAMES = {DEFAULT_LANGUAGE: "english"}  # some clients send the name, and OpenAI's API answers with it


def name_of(language: str) -> str:
    """The name of a language as OpenAI's API writes it; the code where asr-edge knows no name.

    Args:
        language: a code of ISO 639.
    """
    return NAMES.get(language, language)


def check_language(wanted: str, language: str) -> None:
    """Checks that a model writes the language that a request asks for.

    Args:
        wanted: a code such as "en" or "en-US", or a name; empty or "auto" is any language.
        language: of the model, a code of ISO 639.

    Raises:
        ServiceError: the request asks for another language than the model's.
    """
    code = wanted.strip().lower().replace("_", "-").partition("-")[0]
    if code not in (*ANY, language, name_of(language)):
        raise ServiceError(
            400,
            f"language: {wanted[:30]!r} is not supported; the model writes {language!r} only. Leave language out, or "
            "start the service with a model of that language (asr-edge serve --model NAME)",
            parameter="language",
            code="unsupported_language",
        )
