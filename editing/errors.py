"""Errors that a user can act on: one line that names the file and the remedy."""

from typing import Any


def one_line(text: str, max_length: int = 200) -> str:
    """Makes untrusted text safe for a one-line error message: escapes line breaks and control characters.

    Args:
        text: any text.
        max_length: in characters; longer text is cut and ends in an ellipsis.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: max_length + 1])
    return shown if len(shown) <= max_length else f"{shown[:max_length]}..."


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its type if it has no message, as a MemoryError may."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun for a message, such as "1 recording" or "2 recordings".

    Args:
        count: the number.
        noun: the noun in the singular.
        plural: the noun in the plural, if it is not the singular and an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


class AsrEdgeError(Exception):
    """An error that the user can fix. The command line prints only its text and exits with 1.

    Subclasses also inherit the matching builtin exception, so library users can catch either.
    """


class BadInputError(AsrEdgeError, ValueError):
    """A file or an argument cannot be used; nothing was changed."""


class BadAudioError(BadInputError):
    """Audio cannot be read, or is unusable for recognition."""


class IncompleteAudioError(BadAudioError):
    """Audio is cut off or damaged; what could be read before was used.

    Attributes:
        transcript: the `Transcript` of the audio that could be read, if a transcriber raises the error; otherwise None.
    """

    transcript: Any = None


class InvalidSamplesError(IncompleteAudioError):
    """A few samples of a recording are no numbers; they were read as 0, and nothing else is missing."""


class BundleError(BadInputError):
    """A model bundle is missing, damaged or of an unknown kind."""


class TaskVectorError(BadInputError):
    """A task vector is damaged, or does not fit the model that it should be merged into."""


class WrongBaseError(TaskVectorError):
    """A task vector was taken from other base weights."""


class TrainingError(AsrEdgeError, RuntimeError):
    """A fine-tuning cannot continue; the model is unchanged."""


class BlockedError(BadInputError, BlockingIOError):
    """Another process holds the lock; nothing was changed."""


class MissingDependencyError(AsrEdgeError, ImportError):
    """An optional dependency is missing; the message names what to install."""


class MicrophoneError(AsrEdgeError, OSError):
    """There is no microphone, or it was disconnected."""


class StorageError(AsrEdgeError, OSError):
    """A path cannot be written or read, or a stored file is damaged or was written by a later version of asr-edge."""


class NetworkError(AsrEdgeError, OSError):
    """A server cannot be reached; the message says what works without it."""
