"""From a CTC model's log-probabilities to words, their times and how sure each is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.families import WORD_START, Recognition, Word
from device_app.recognition.ngram import NGram
from editing.errors import BundleError
from export.bundle import TOKENIZER, Bundle


@dataclass(frozen=True)
class Piece:
    """A token, the frames it was heard in (`end` is the first after them) and its log-probability there."""

    token: int
    start: int
    end: int
    log_probability: float


def greedy(log_probabilities: NDArray[np.float32], blank: int) -> list[Piece]:
    """The best token of every frame, repeats joined and blanks left out (Graves et al. 2006).

    Args:
        log_probabilities: (frames, vocabulary).
        blank: its token.

    Returns:
        The pieces; the probability of one is the mean over its frames.
    """
    best = log_probabilities.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    return [
        Piece(int(best[start]), int(start), int(end), float(log_probabilities[start:end, best[start]].mean()))
        for start, end in pairwise(edges)
        if best[start] != blank
    ]


class Decoder:
    """A bundle's vocabulary, and what a frame is worth."""

    def __init__(self, tokenizer: Any, blank: int, language_model: NGram | None = None) -> None:
        self._tokenizer = tokenizer
        self.blank = blank
        self._pieces: Callable[[NDArray[np.float32]], list[Piece]] = lambda frames: greedy(frames, blank)
        if language_model is not None:
            from device_app.recognition.beam_search import decoder

            names = [tokenizer.id_to_token(token) for token in range(blank)]
            self._pieces = decoder(names, blank, language_model)

    @classmethod
    def of(cls, bundle: Bundle, language_model: NGram | None = None) -> Decoder:
        """
        Args:
            bundle: whose tokenizer.
            language_model: to decode with a beam; None takes the best token of each frame.

        Raises:
            BundleError: the tokenizer is missing or damaged.
        """
        import tokenizers

        bundle.check(TOKENIZER)
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(bundle.path(TOKENIZER)))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{bundle.folder}: the tokenizer is damaged ({error})") from error
        return cls(tokenizer, int(tokenizer.get_vocab_size()), language_model)

    def recognition(self, log_probabilities: NDArray[np.float32], samples: int) -> Recognition:
        """
        Args:
            log_probabilities: (frames, vocabulary), the blank last.
            samples: of the audio, at 16 kHz, that the frames are of.
        """
        frame_s = samples / SAMPLE_RATE / max(1, len(log_probabilities))
        words = self._words(self._pieces(log_probabilities), frame_s)
        return Recognition(" ".join(word.text for word in words), words)

    def _words(self, pieces: Sequence[Piece], frame_s: float) -> list[Word]:
        """Pieces between two marks of a word's beginning; a word lasts from its first piece to its last."""
        names = [self._tokenizer.id_to_token(piece.token) for piece in pieces]
        starts = [i for i, name in enumerate(names) if i == 0 or name.startswith(WORD_START)]
        words = []
        for first, end in pairwise([*starts, len(pieces)]):
            text = "".join(names[first:end]).replace(WORD_START, "")
            if not text:
                continue  # a mark without letters
            # The mark alone is a pause, not a sound of the word.
            sounds = pieces[first + 1 if names[first] == WORD_START else first : end]
            confidence = math.exp(sum(piece.log_probability for piece in pieces[first:end]) / (end - first))
            words.append(Word(text, sounds[0].start * frame_s, sounds[-1].end * frame_s, confidence))
        return words
