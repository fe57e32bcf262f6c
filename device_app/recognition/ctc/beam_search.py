"""CTC prefix beam search with an n-gram language model (Hannun et al. 2014, arXiv 1408.2873) and keyterms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.keyterms.terms import START
from device_app.recognition.ngram import BEGIN, END, NGram
from device_app.recognition.results import Piece
from device_app.recognition.subwords import WORD_START

BEAM_WIDTH = 32  # prefixes that are kept after each frame
KEYTERM_BEAM_WIDTH = 8  # with keyterms and no language model
TOKEN_MARGIN = 9.0  # nats; tokens further below the best token of their frame are pruned
LM_WEIGHT = 0.5  # factor of the language model's log-probabilities; that of the CTC log-probabilities is 1
WORD_BONUS = 1.0  # nats, added per word, because a language model favours hypotheses with fewer words
LOG_ZERO = -math.inf

Tokens = tuple[int, ...]


@dataclass
class _Prefix:
    """Scores of a prefix, in nats.

    Attributes:
        blank: log-probability of all paths that end with a blank.
        token: log-probability of all paths that end with the last token.
        lm_score: score of its complete words, as `_WordScores` gives it.
        state: the text that matches the beginning of a keyterm after its last token (see `keyterms.terms.Keyterms`).
        bonus: sum of the keyterm bonuses, in nats.
    """

    blank: float = LOG_ZERO
    token: float = LOG_ZERO
    lm_score: float = 0.0
    state: str = START
    bonus: float = 0.0

    @property
    def ctc(self) -> float:
        """Log-probability of all paths."""
        return float(np.logaddexp(self.blank, self.token))

    @property
    def score(self) -> float:
        """By which prefixes are compared: log-probability, score of the words and bonus."""
        return self.ctc + self.lm_score + self.bonus


def search(
    log_probabilities: NDArray[np.float32],
    names: Sequence[str],
    blank: int,
    model: NGram | None,
    width: int = BEAM_WIDTH,
    terms: TermGraph | None = None,
) -> Tokens:
    """Finds the tokens with the best combined score of CTC, language model and keyterms.

    Args:
        log_probabilities: (frames, vocabulary), in nats.
        names: the text of each token of the vocabulary but the blank; the first token of a word begins with
            `WORD_START`.
        blank: id of the blank token.
        model: a word n-gram model whose words have the same case as the tokens, or None.
        width: prefixes that are kept after each frame.
        terms: graph of the terms to prefer, built for the same `names`.

    Returns:
        The best tokens, without blanks; empty without frames.
    """
    is_start = [name.startswith(WORD_START) for name in names]
    score_words = _WordScores(names, model)
    beam: dict[Tokens, _Prefix] = {(): _Prefix(blank=0.0)}
    for frame in log_probabilities:
        likely = [int(token) for token in np.flatnonzero(frame > frame.max() - TOKEN_MARGIN)]
        extended: dict[Tokens, _Prefix] = {}
        for prefix, scores in beam.items():
            last = prefix[-1] if prefix else None
            for token in likely:
                log_probability = float(frame[token])
                if token == blank:
                    unchanged = _unchanged(extended, prefix, scores)
                    unchanged.blank = float(np.logaddexp(unchanged.blank, scores.ctc + log_probability))
                    continue
                if token == last:  # either the token continues, or it is repeated after a blank
                    unchanged = _unchanged(extended, prefix, scores)
                    unchanged.token = float(np.logaddexp(unchanged.token, scores.token + log_probability))
                    extensible = scores.blank  # log-probability of the paths that this token makes longer
                else:
                    extensible = scores.ctc
                if extensible == LOG_ZERO:
                    continue
                longer = (*prefix, token)
                entry = extended.get(longer)
                if entry is None:
                    lm_score = score_words(longer) if is_start[token] else scores.lm_score
                    state, bonus = terms.advance(scores.state, token) if terms else (START, 0.0)
                    entry = extended[longer] = _Prefix(lm_score=lm_score, state=state, bonus=scores.bonus + bonus)
                entry.token = float(np.logaddexp(entry.token, extensible + log_probability))
        best = sorted(extended.items(), key=lambda item: item[1].score, reverse=True)[:width]
        beam = dict(best)

    def complete_score(prefix: Tokens) -> float:
        scores = beam[prefix]
        bonus = scores.bonus + (terms.end_bonus(scores.state) if terms else 0.0)
        return scores.ctc + score_words(prefix, is_complete=True) + bonus

    return max(beam, key=complete_score)


def _unchanged(beam: dict[Tokens, _Prefix], prefix: Tokens, scores: _Prefix) -> _Prefix:
    """The entry in the next `beam` of a prefix that this frame does not extend; a new one has no probability yet."""
    return beam.setdefault(prefix, _Prefix(lm_score=scores.lm_score, state=scores.state, bonus=scores.bonus))


class _WordScores:
    """Scores the complete words of a prefix with the language model; the score is 0 if there is none."""

    def __init__(self, names: Sequence[str], model: NGram | None) -> None:
        self._names, self._model = names, model
        self._cache: dict[tuple[str, ...], float] = {}

    def __call__(self, prefix: Tokens, is_complete: bool = False) -> float:
        """The score in nats: weighted log-probabilities, and `WORD_BONUS` for each word.

        With `is_complete`, the prefix is a whole sentence: its last word is complete, and the end is scored too.
        """
        if self._model is None:
            return 0.0
        text = "".join(self._names[token] for token in prefix)
        words = tuple(word for word in text.split(WORD_START) if word)
        if not is_complete and not self._ends_word(prefix):
            words = words[:-1]
        score = LM_WEIGHT * self._sum(words) + WORD_BONUS * len(words)
        if is_complete:
            score += LM_WEIGHT * self._model.log_probability((BEGIN, *words), END)
        return score

    def _ends_word(self, prefix: Tokens) -> bool:
        """Whether the last token begins a word without adding letters, so that the word before it is complete."""
        return bool(prefix) and self._names[prefix[-1]] == WORD_START

    def _sum(self, words: tuple[str, ...]) -> float:
        """The log-probability of words at the start of a sentence."""
        if not words or self._model is None:
            return 0.0
        if words not in self._cache:
            self._cache[words] = self._sum(words[:-1]) + self._model.log_probability((BEGIN, *words[:-1]), words[-1])
        return self._cache[words]


def align(log_probabilities: NDArray[np.float32], tokens: Tokens, blank: int) -> list[Piece]:
    """Forced alignment of tokens to frames (Viterbi).

    Args:
        log_probabilities: (frames, vocabulary), in nats.
        tokens: the result of decoding `log_probabilities`, so that an alignment exists. This is not checked.
        blank: id of the blank token.

    Returns:
        For each token, the frames that it spans and its mean log-probability in them.
    """
    if not tokens:
        return []
    states = [blank]
    for token in tokens:
        states += [token, blank]
    labels = np.array(states)  # tokens with a blank before, between and after them
    skips = np.zeros(len(states), bool)  # whether a path may skip the blank before this state
    skips[3::2] = labels[3::2] != labels[1:-2:2]
    scores = np.full(len(states), LOG_ZERO)
    scores[:2] = log_probabilities[0, labels[:2]]
    back = np.zeros((len(log_probabilities), len(states)), np.int8)  # how many states the best path advanced
    for number, frame in enumerate(log_probabilities[1:], 1):
        from_previous = np.concatenate([[LOG_ZERO], scores[:-1]])
        over_blank = np.where(skips, np.concatenate([[LOG_ZERO, LOG_ZERO], scores[:-2]]), LOG_ZERO)
        steps = np.stack([scores, from_previous, over_blank])
        back[number] = steps.argmax(axis=0)
        scores = steps.max(axis=0) + frame[labels]
    state = len(states) - 1 if scores[-1] >= scores[-2] else len(states) - 2
    path = np.zeros(len(log_probabilities), int)
    for number in range(len(log_probabilities) - 1, -1, -1):
        path[number] = state
        state -= int(back[number, state])
    pieces = []
    for index, token in enumerate(tokens):
        frames = np.flatnonzero(path == 2 * index + 1)
        start, end = int(frames[0]), int(frames[-1]) + 1
        pieces.append(Piece(token, start, end, float(log_probabilities[start:end, token].mean())))
    return pieces
