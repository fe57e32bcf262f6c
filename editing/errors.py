"""Errors that are somebody's to act on: one line, naming the file and the remedy."""


def one_line(text: str, most: int = 200) -> str:
    """Text from a file that anybody may have written, for an error's line: no line breaks, no control characters.

    Args:
        text: whatever it is.
        most: characters; the rest is left out, and an ellipsis says so.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}..."


class AsrEdgeError(Exception):
    """Something the user can mend. The command line shows the text alone and exits with 1.

    Children also inherit the builtin that fits, so a library's caller can catch either.
    """


class BadInputError(AsrEdgeError, ValueError):
    """A file or an argument that cannot be used; nothing was changed."""


class BadAudioError(BadInputError):
    """Audio that cannot be read, or that no recogniser should be given."""


class BundleError(BadInputError):
    """A model bundle that is missing, damaged or of an unknown kind."""


class TaskVectorError(BadInputError):
    """A task vector that is damaged, or does not fit the model it is to be merged into."""


class WrongBaseError(TaskVectorError):
    """A task vector taken from other base weights."""


class TrainingError(AsrEdgeError, RuntimeError):
    """A fine-tuning that cannot go on; the model is as it was."""


class BlockedError(BadInputError, BlockingIOError):
    """Another process holds the lock; nothing was changed."""


class MissingDependencyError(AsrEdgeError, ImportError):
    """An optional part is not installed; the text names what to install."""


class MicrophoneError(AsrEdgeError, OSError):
    """No microphone, or it went away."""


class StorageError(AsrEdgeError, OSError):
    """A place that cannot be written: read-only, full, or not a folder."""


class NetworkError(AsrEdgeError, OSError):
    """Something to be fetched cannot be reached; the text says what works without it."""
