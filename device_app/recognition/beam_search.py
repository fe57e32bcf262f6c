"""CTC decoding with a beam and an n-gram model (Hannun et al. 2014, arXiv 1408.2873)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.ngram import BEGIN, END, NGram
from device_app.recognition.results import Piece
from device_app.recognition.subwords import WORD_START

WIDTH = 32  # of the beam, by default
UNLIKELY = -9.0  # nats below a frame's best token: not tried
WEIGHT = 0.5  # of the language model beside the sound
BONUS = 1.0  # for each word, as a language model likes few
NEVER = -math.inf

Tokens = tuple[int, ...]


@dataclass
class _Prefix:
    """Log-probabilities of a prefix: of ways that end with a blank, and with its last token; of its words."""

    blank: float = NEVER
    token: float = NEVER
    words: float = 0.0

    @property
    def sound(self) -> float:
        return float(np.logaddexp(self.blank, self.token))

    @property
    def score(self) -> float:
        return self.sound + self.words


def decode(
    log_probabilities: NDArray[np.float32], names: Sequence[str], blank: int, model: NGram, width: int = WIDTH
) -> list[Piece]:
    """The best tokens by sound and language model, and their frames; the arguments are those of `search`."""
    return align(log_probabilities, search(log_probabilities, names, blank, model, width), blank)


def search(
    log_probabilities: NDArray[np.float32], names: Sequence[str], blank: int, model: NGram, width: int = WIDTH
) -> Tokens:
    """The best tokens by sound and language model.

    Args:
        log_probabilities: (frames, vocabulary).
        names: of the tokens; a word's first begins with SentencePiece's mark.
        blank: its token.
        model: of words, in the case in which the tokens are.
        width: prefixes that are kept after each frame.
    """
    is_start = [name.startswith(WORD_START) for name in names]
    words_of = _Words(names, model)
    beam: dict[Tokens, _Prefix] = {(): _Prefix(blank=0.0)}
    for frame in log_probabilities:
        likely = [int(token) for token in np.flatnonzero(frame > frame.max() + UNLIKELY)]
        following: dict[Tokens, _Prefix] = {}
        for prefix, ways in beam.items():
            last = prefix[-1] if prefix else None
            for token in likely:
                chance = float(frame[token])
                if token == blank:
                    same = _of(following, prefix, ways.words)
                    same.blank = float(np.logaddexp(same.blank, ways.sound + chance))
                    continue
                if token == last:  # held on, or said again after a blank
                    same = _of(following, prefix, ways.words)
                    same.token = float(np.logaddexp(same.token, ways.token + chance))
                    before = ways.blank
                else:
                    before = ways.sound
                if before == NEVER:
                    continue
                longer = (*prefix, token)
                words = words_of(longer) if is_start[token] else ways.words
                grown = _of(following, longer, words)
                grown.token = float(np.logaddexp(grown.token, before + chance))
        best = sorted(following.items(), key=lambda item: item[1].score, reverse=True)[:width]
        beam = dict(best)
    return max(beam, key=lambda prefix: beam[prefix].sound + words_of(prefix, is_whole=True))


def _of(beam: dict[Tokens, _Prefix], prefix: Tokens, words: float) -> _Prefix:
    return beam.setdefault(prefix, _Prefix(words=words))


class _Words:
    """What the language model says of the words that a prefix has finished."""

    def __init__(self, names: Sequence[str], model: NGram) -> None:
        self._names, self._model = names, model
        self._known: dict[tuple[str, ...], float] = {}

    def __call__(self, prefix: Tokens, is_whole: bool = False) -> float:
        """With `is_whole` the last word and the sentence have ended, too."""
        text = "".join(self._names[token] for token in prefix)
        words = tuple(word for word in text.split(WORD_START) if word)
        if not is_whole and not self._ends(prefix):
            words = words[:-1]
        score = WEIGHT * self._sum(words) + BONUS * len(words)
        if is_whole:
            score += WEIGHT * self._model.log_probability((BEGIN, *words), END)
        return score

    def _ends(self, prefix: Tokens) -> bool:
        """Whether the last token is a mark without letters: a new word has begun, and the one before is whole."""
        return bool(prefix) and self._names[prefix[-1]] == WORD_START

    def _sum(self, words: tuple[str, ...]) -> float:
        if not words:
            return 0.0
        if words not in self._known:
            self._known[words] = self._sum(words[:-1]) + self._model.log_probability((BEGIN, *words[:-1]), words[-1])
        return self._known[words]


def align(log_probabilities: NDArray[np.float32], tokens: Tokens, blank: int) -> list[Piece]:
    """Forced alignment: the best of all ways to spread the tokens over the frames (Viterbi).

    Args:
        log_probabilities: (frames, vocabulary).
        tokens: that were decoded from them, so that there is such a way.
        blank: its token.
    """
    if not tokens:
        return []
    states = [blank]
    for token in tokens:
        states += [token, blank]
    place = np.array(states)
    skips = np.zeros(len(states), bool)  # over the blank between two different tokens
    skips[3::2] = place[3::2] != place[1:-2:2]
    scores = np.full(len(states), NEVER)
    scores[:2] = log_probabilities[0, place[:2]]
    back = np.zeros((len(log_probabilities), len(states)), np.int8)
    for number, frame in enumerate(log_probabilities[1:], 1):
        one = np.concatenate([[NEVER], scores[:-1]])
        two = np.where(skips, np.concatenate([[NEVER, NEVER], scores[:-2]]), NEVER)
        ways = np.stack([scores, one, two])
        back[number] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + frame[place]
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
