"""Beam search for an autoregressive decoder: all hypotheses advance in one batched step a token.

`recognition.beam_search` is for CTC models, whose output does not depend on the tokens before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# A phrase of up to this many tokens that comes this often in a row is a loop, not speech. Short
# phrases must come oftener: people do say "zero zero zero zero" and "no, no, no, no".
LONGEST_PHRASE = 16
REPEATS = 4
REPEATED_TOKENS = 12


class Decoder(Protocol):
    """A model that predicts one token after another."""

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Advances every hypothesis by one token.

        Args:
            tokens: (hypotheses,), the latest token of each; the start token at first.
            parents: (hypotheses,), which row of the previous step each continues; [0] at first.

        Returns:
            log-probabilities of the next token, (hypotheses, vocabulary), and the weight that
            each hypothesis now gives each frame of the audio, (hypotheses, frames).
        """
        ...


class Bias(Protocol):
    """Prefers some tokens by what a hypothesis has written so far; keeps its own state of each hypothesis."""

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64], log_probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Adds its bonuses.

        Args:
            tokens, parents: those of `Decoder.step`, which was called with them before.
            log_probabilities: (hypotheses, vocabulary), what it returned.

        Returns:
            (hypotheses, vocabulary), another array.
        """
        ...


@dataclass(frozen=True)
class SearchSettings:
    """How wide the search is.

    Attributes:
        beam: hypotheses that are kept after each token; 1 is greedy.
        margin: nats below the best hypothesis; one that falls further behind is dropped. Most steps
            of clear speech go on with one or two hypotheses, which is what makes a beam cheap.
        length_exponent: complete hypotheses are compared by log-probability / steps ** exponent. 0 favours short ones.
        fewest: tokens before a hypothesis may end.
    """

    beam: int
    margin: float = 5.0
    length_exponent: float = 1.0
    fewest: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """Tokens, without start and end token.

    Attributes:
        tokens: ids.
        log_probabilities: of each token.
        attention: (frames,) rows, one per decoder step: the weight that the token gave each frame.
            One row longer than `tokens` where the end token came.
        score: the log-probability of all, the end token included.
        bonus: what a bias has added to the score; it decides between hypotheses, and is no part of any probability.
        is_complete: whether the decoder ended it; otherwise it was stopped in a loop or at the longest length.
    """

    tokens: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    attention: tuple[NDArray[np.float32], ...] = ()
    score: float = 0.0
    bonus: float = 0.0
    is_complete: bool = False

    def extended(
        self, token: int, log_probability: float, attention: NDArray[np.float32], bonus: float = 0.0
    ) -> Hypothesis:
        return Hypothesis(
            (*self.tokens, token),
            (*self.log_probabilities, log_probability),
            (*self.attention, attention),
            self.score + log_probability,
            self.bonus + bonus,
        )

    def ended(self, log_probability: float, attention: NDArray[np.float32], bonus: float = 0.0) -> Hypothesis:
        return replace(
            self,
            attention=(*self.attention, attention),
            score=self.score + log_probability,
            bonus=self.bonus + bonus,
            is_complete=True,
        )

    def cut(self, length: int) -> Hypothesis:
        """The first `length` tokens; not complete."""
        log_probabilities = self.log_probabilities[:length]
        return Hypothesis(self.tokens[:length], log_probabilities, self.attention[:length], sum(log_probabilities))

    def normalised(self, exponent: float) -> float:
        return float(self.score / max(1, len(self.attention)) ** exponent)


def search(
    decoder: Decoder, *, start: int, end: int, longest: int, settings: SearchSettings, bias: Bias | None = None
) -> Hypothesis:
    """The best hypothesis.

    It is not complete where the most likely hypothesis repeats a phrase in a loop, of which it
    keeps one, or where none ends within `longest` tokens.

    Args:
        decoder: at its start; its `step` is called once a token.
        start: the token that every hypothesis begins with.
        end: the token that ends one.
        longest: tokens, at least 1.
        settings: of the search.
        bias: what else decides, beside the decoder.
    """
    steps = 0

    def rank(hypothesis: Hypothesis) -> float:
        # The bonus is divided by the same length for all: a positive number by its own would favour short hypotheses.
        shared = float(max(1, steps) ** settings.length_exponent)
        return hypothesis.normalised(settings.length_exponent) + hypothesis.bonus / shared

    live = [Hypothesis()]
    complete: list[Hypothesis] = []
    tokens, parents = np.array([start]), np.array([0])
    for steps in range(1, longest + 1):
        log_probabilities, attention = decoder.step(tokens, parents)
        if steps <= settings.fewest:
            log_probabilities[:, end] = -np.inf
        scores = log_probabilities if bias is None else bias.step(tokens, parents, log_probabilities)
        following: list[tuple[int, Hypothesis]] = []
        for place, (row, token) in enumerate(_candidates(live, scores, settings)):
            log_probability = float(log_probabilities[row, token])
            bonus = float(scores[row, token]) - log_probability if math.isfinite(log_probability) else 0.0
            if token == end:
                if place < settings.beam:
                    complete.append(live[row].ended(log_probability, attention[row], bonus))
                continue
            hypothesis = live[row].extended(token, log_probability, attention[row], bonus)
            if not (repeated := repetition(hypothesis.tokens)):
                following.append((row, hypothesis))
            elif place == 0:
                return hypothesis.cut(len(hypothesis.tokens) - repeated)
        if not following:
            break
        parents = np.array([row for row, _ in following[: settings.beam]])
        live = [hypothesis for _, hypothesis in following[: settings.beam]]
        tokens = np.array([hypothesis.tokens[-1] for hypothesis in live])
        if complete and max(map(rank, complete)) >= max(map(rank, live)):
            break
    return max(complete or live, key=rank)


def _candidates(
    live: Sequence[Hypothesis], scores: NDArray[np.float32], settings: SearchSettings
) -> Iterator[tuple[int, int]]:
    """Rows and tokens of the best continuations, best first: twice the beam, as each row may offer the end token."""
    totals = (scores + np.array([[one.score + one.bonus] for one in live], np.float32)).ravel()
    likely = np.flatnonzero(totals >= totals.max() - settings.margin)
    best = likely[np.argsort(-totals[likely], kind="stable")][: 2 * settings.beam]
    return (divmod(int(place), scores.shape[1]) for place in best)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalised: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def repetition(tokens: Sequence[int]) -> int:
    """How many tokens at the end only repeat the phrase before them; 0 where that is no loop."""
    for length in range(1, min(LONGEST_PHRASE, len(tokens) // REPEATS) + 1):
        repeats = max(REPEATS, math.ceil(REPEATED_TOKENS / length))
        tail = tokens[-length * repeats :]
        if len(tail) == length * repeats and tail[:-length] == tail[length:]:
            return length * (repeats - 1)
    return 0
