"""Decodes the log-probabilities of a CTC model to words with times and confidence."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.terms import Term
from device_app.recognition.ctc import beam_search
from device_app.recognition.ctc.greedy import greedy
from device_app.recognition.keyterms.cache import term_graph
from device_app.recognition.keyterms.graph import MIN_BONUS, TermGraph
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Piece, Recognition, Word, geometric_mean
from device_app.recognition.subwords import WORD_START, word_spans
from export.bundle import TOKENIZER, Bundle


class CtcDecoder:
    """Decodes by beam search with a language model or keyterms, and greedily without: a beam would find nothing better.

    Attributes:
        blank: id of the blank token, the last of the vocabulary.
    """

    def __init__(
        self, tokenizer: Any, blank: int, options: DecodingOptions = DEFAULT, tokenizer_hash: str | None = None
    ) -> None:
        """
        Args:
            tokenizer: of the library tokenizers.
            blank: id of the blank token, which the tokenizer does not have.
            options: decoding options.
            tokenizer_hash: SHA-256 of the tokenizer, under which the index of a long list of terms is stored on the
                disk; None stores none.
        """
        self._tokenizer = tokenizer
        self.blank = blank
        self._options = options
        self._names: Sequence[str] = [tokenizer.id_to_token(token) for token in range(blank)]
        self._terms = term_graph(options.keyterms, tokenizer_hash, lambda: self._names) if options.keyterms else None

    @classmethod
    def of(cls, bundle: Bundle, options: DecodingOptions = DEFAULT) -> CtcDecoder:
        """Loads the tokenizer of a bundle.

        Args:
            bundle: the model.
            options: decoding options.

        Raises:
            BundleError: the tokenizer is missing or damaged.
        """
        tokenizer = bundle.tokenizer()
        return cls(tokenizer, int(tokenizer.get_vocab_size()), options, bundle.files[TOKENIZER])

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> CtcDecoder:
        """A decoder with other keyterms, whose index is not kept on the disk."""
        other = copy.copy(self)
        other._terms = term_graph(keyterms, None, lambda: self._names) if keyterms else None
        return other

    def recognition(self, log_probabilities: NDArray[np.float32], samples: int) -> Recognition:
        """Decodes one segment.

        Args:
            log_probabilities: (frames, vocabulary) in nats, the blank last.
            samples: length of the segment's audio, at 16 kHz.

        Returns:
            The words, with times from the start of the segment.
        """
        frame_s = samples / SAMPLE_RATE / max(1, len(log_probabilities))
        words = self._words(self._pieces(log_probabilities, self._terms), frame_s)
        text = _text(words)
        if self._terms is None or not self._terms.terms.found_in(text):
            return Recognition(text, words)
        unaided = _text(self._words(self._pieces(log_probabilities, None), frame_s))
        return Recognition(text, words, self._terms.terms.matches(text, unaided))

    def _pieces(self, log_probabilities: NDArray[np.float32], terms: TermGraph | None) -> list[Piece]:
        """The best tokens with these terms (None: without any), and their frames."""
        model, beam = self._options.language_model, self._options.beam
        if model is None:
            return self._with_terms(log_probabilities, terms) if terms else greedy(log_probabilities, self.blank)
        width = beam or beam_search.BEAM_WIDTH
        tokens = beam_search.search(log_probabilities, self._names, self.blank, model, width, terms)
        return beam_search.align(log_probabilities, tokens, self.blank)

    def _with_terms(self, log_probabilities: NDArray[np.float32], terms: TermGraph) -> list[Piece]:
        """The greedy pieces, unless beam search finds more of the terms.

        So terms that are not said, and terms that are recognised anyway, change nothing.
        """
        plain = greedy(log_probabilities, self.blank)
        width = self._options.beam or beam_search.KEYTERM_BEAM_WIDTH
        found = beam_search.search(log_probabilities, self._names, self.blank, None, width, terms)
        if terms.bonus(found) - terms.bonus([piece.token for piece in plain]) < MIN_BONUS:
            return plain
        return beam_search.align(log_probabilities, found, self.blank)

    def _words(self, pieces: Sequence[Piece], frame_s: float) -> list[Word]:
        """Groups pieces into words; a word lasts from its first piece to its last."""
        names = [self._names[piece.token] for piece in pieces]
        words = []
        for first, end in word_spans(names):
            text = "".join(names[first:end]).replace(WORD_START, "")
            if not text:
                continue  # a word-start token without letters
            # A word-start token without letters marks a pause, which is not part of the word.
            sounds = pieces[first + 1 if names[first] == WORD_START else first : end]
            confidence = geometric_mean([piece.log_probability for piece in pieces[first:end]])
            words.append(Word(text, sounds[0].start * frame_s, sounds[-1].end * frame_s, confidence))
        return words


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)
