"""Many utterances, such as a test set, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from device_app.recognition.onnx_session import THREADS, default_threads
from device_app.recognition.transcriber import Transcriber
from export.bundle import Bundle

Result = TypeVar("Result")


class UtteranceTranscriber:
    """Recognises utterances side by side, each with one thread.

    On two cores, that takes about 0.7 of the time of one utterance after the other with two threads (Moonshine Tiny);
    the texts are the same.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        *,
        on_bake: Callable[[], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        """
        Args:
            bundle, on_bake, folder: as for `Transcriber`.
            threads: utterances at a time; None for up to 4, as many as there are cores.

        Raises:
            BadInputError: `threads` is out of range.
            BundleError, StorageError: as `Transcriber`.
        """
        if threads is not None:
            THREADS.check("threads", threads)
        self._transcriber = Transcriber(bundle, threads=1, on_bake=on_bake, folder=folder)
        self._threads = threads or default_threads()

    def map(
        self,
        function: Callable[[Transcriber, int, Utterance], Result],
        utterances: Sequence[Utterance],
        advance: Callable[[float], None] = lambda _done: None,
    ) -> list[Result]:
        """Calls a function for each utterance, several at a time; returns the results in the order of the utterances.

        Args:
            function: takes the transcriber, the index of the utterance and the utterance, in any thread.
            utterances: the utterances.
            advance: called with 1 after each utterance, in the caller's thread.
        """
        results = []
        pool = ThreadPoolExecutor(self._threads)
        try:
            waiting = [pool.submit(function, self._transcriber, i, one) for i, one in enumerate(utterances)]
            for future in waiting:
                results.append(future.result())
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)  # if interrupted, waits only for the utterances in progress
        return results

    def texts(
        self, utterances: Sequence[Utterance], advance: Callable[[float], None] = lambda _done: None
    ) -> list[str]:
        """The text of each utterance; `advance` as for `map`.

        Raises:
            BadAudioError: a recording cannot be read.
        """
        return self.map(_text, utterances, advance)


def _text(transcriber: Transcriber, _index: int, utterance: Utterance) -> str:
    return transcriber.transcribe(utterance.read(), SAMPLE_RATE).text
