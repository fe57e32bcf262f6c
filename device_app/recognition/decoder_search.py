"""Beam search for an autoregressive decoder: all hypotheses advance in one batched step per token.

`recognition.ctc.beam_search` is for CTC models, whose output does not depend on the previous tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# The decoder is in a loop if it writes a phrase of up to MAX_PHRASE_TOKENS tokens at least REPEATS times in a row,
# and the repeats fill at least REPEATED_TOKENS tokens. Short phrases therefore need more repeats, because people do say
# "zero zero zero zero" and "no, no, no, no".
MAX_PHRASE_TOKENS = 16
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
            each hypothesis gives each frame of the audio in this step, (hypotheses, frames).
        """
        ...


class Bias(Protocol):
    """Favours some tokens, depending on the tokens of a hypothesis so far; keeps a state for each hypothesis."""

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64], log_probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Adds the bonuses to the log-probabilities.

        Args:
            tokens, parents: the arguments of the preceding call of `Decoder.step`.
            log_probabilities: (hypotheses, vocabulary), which that call returned.

        Returns:
            (hypotheses, vocabulary), a new array.
        """
        ...

    def accepts(self, plain: Hypothesis, biased: Hypothesis) -> bool:
        """Whether the best hypothesis with bonuses replaces the best one without."""
        ...


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the beam search.

    Attributes:
        beam: hypotheses that are kept after each token; 1 is greedy.
        margin: hypotheses that are more than this many nats below the best are dropped. In clear speech
            most steps continue with only one or two hypotheses, which keeps a beam cheap.
        length_exponent: complete hypotheses are compared by log-probability / steps ** exponent. 0 favours short ones.
        min_tokens: minimum number of tokens before a hypothesis may end.
    """

    beam: int
    margin: float = 5.0
    length_exponent: float = 1.0
    min_tokens: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """A token sequence without the start and end tokens.

    Attributes:
        tokens: their ids.
        log_probabilities: one per token.
        attention: (frames,) rows, one per decoder step: the weight that the token gave each frame.
            There is one row more than tokens if the end token was decoded.
        score: the sum of the log-probabilities, including that of the end token.
        bonus: sum of what a `Bias` added. It counts when hypotheses are compared, but is not part of any probability.
        is_complete: whether the decoder ended it; otherwise the search stopped it in a loop or at the maximum length.
        unbiased: tokens of the best hypothesis without the bonuses of a `Bias`; None without a bias.
    """

    tokens: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    attention: tuple[NDArray[np.float32], ...] = ()
    score: float = 0.0
    bonus: float = 0.0
    is_complete: bool = False
    unbiased: tuple[int, ...] | None = None

    def extended(
        self, token: int, log_probability: float, attention: NDArray[np.float32], bonus: float = 0.0
    ) -> Hypothesis:
        """Returns the hypothesis with one more token; `attention` is (frames,)."""
        return Hypothesis(
            (*self.tokens, token),
            (*self.log_probabilities, log_probability),
            (*self.attention, attention),
            self.score + log_probability,
            self.bonus + bonus,
        )

    def ended(self, log_probability: float, attention: NDArray[np.float32], bonus: float = 0.0) -> Hypothesis:
        """Returns the complete hypothesis; the arguments are those of the end token, as for `extended`."""
        return replace(
            self,
            attention=(*self.attention, attention),
            score=self.score + log_probability,
            bonus=self.bonus + bonus,
            is_complete=True,
        )

    def truncated(self, length: int) -> Hypothesis:
        """Returns the first `length` tokens as an incomplete hypothesis."""
        log_probabilities = self.log_probabilities[:length]
        return Hypothesis(self.tokens[:length], log_probabilities, self.attention[:length], sum(log_probabilities))

    def normalised(self, exponent: float) -> float:
        """The score, divided by the number of decoder steps ** exponent; in nats per step if the exponent is 1."""
        return float(self.score / max(1, len(self.attention)) ** exponent)


def search(
    decoder: Decoder, *, start: int, end: int, max_tokens: int, settings: SearchSettings, bias: Bias | None = None
) -> Hypothesis:
    """Finds the best hypothesis.

    The result is incomplete in two cases: the most likely hypothesis repeats a phrase in a loop (the
    phrase is kept once), or no hypothesis ends within `max_tokens` tokens.

    With a bias, a second beam with its bonuses runs beside the plain one, in the same steps of the decoder; hypotheses
    that are in both cost nothing more. So the plain result stays exact, and `Bias.accepts` decides between the two.

    Args:
        decoder: in its initial state; its `step` is called once per token.
        start: the token that every hypothesis begins with.
        end: the token that ends a hypothesis.
        max_tokens: maximum number of tokens, at least 1.
        settings: settings of the search.
        bias: adds bonuses to the decoder's log-probabilities.
    """
    beams = [_Beam(settings, end) for _ in range(1 if bias is None else 2)]
    tokens, parents = np.array([start]), np.array([0])
    for steps in range(1, max_tokens + 1):
        log_probabilities, attention = decoder.step(tokens, parents)
        if steps <= settings.min_tokens:
            log_probabilities[:, end] = -np.inf
        scores = [log_probabilities]
        if bias is not None:
            scores.append(bias.step(tokens, parents, log_probabilities))
        next_rows: dict[tuple[int, int], int] = {}  # row of the next step by row of this one and token
        for beam, with_bonuses in zip(beams, scores, strict=True):
            if beam.is_active:
                beam.advance(log_probabilities, with_bonuses, attention)
                beam.request_rows(next_rows)
        if not next_rows:
            break
        parents, tokens = np.array([*next_rows]).T
    plain = beams[0].best()
    if bias is None:
        return plain
    biased = beams[1].best()
    return replace(biased if bias.accepts(plain, biased) else plain, unbiased=plain.tokens)


class _Beam:
    """The hypotheses of a search, live and complete.

    Attributes:
        is_active: whether there is more to search.
    """

    def __init__(self, settings: SearchSettings, end: int) -> None:
        self._settings, self._end = settings, end
        self._live = [Hypothesis()]
        self._rows = [0]  # for each live hypothesis, its row in the decoder's latest step
        self._complete: list[Hypothesis] = []
        self._looping: Hypothesis | None = None  # the most likely hypothesis, if it is in a loop
        self._steps = 0
        self.is_active = True

    def advance(
        self, log_probabilities: NDArray[np.float32], scores: NDArray[np.float32], attention: NDArray[np.float32]
    ) -> None:
        """Extends the live hypotheses by one token.

        Args:
            log_probabilities: (rows, vocabulary), of the decoder.
            scores: the same with the bonuses of a `Bias` added, or the same.
            attention: (rows, frames).
        """
        self._steps += 1
        following: list[tuple[int, Hypothesis]] = []
        is_every_row = self._rows == list(range(len(scores)))  # usual without a bias; saves a copy
        of_live = scores if is_every_row else scores[self._rows]
        for rank, (index, token) in enumerate(_candidates(self._live, of_live, self._settings)):
            row, parent = self._rows[index], self._live[index]
            log_probability = float(log_probabilities[row, token])
            bonus = float(scores[row, token]) - log_probability if math.isfinite(log_probability) else 0.0
            if token == self._end:
                if rank < self._settings.beam:
                    self._complete.append(parent.ended(log_probability, attention[row], bonus))
                continue
            hypothesis = parent.extended(token, log_probability, attention[row], bonus)
            if not (repeated := repetition(hypothesis.tokens)):
                following.append((row, hypothesis))
            elif rank == 0:
                self._looping = hypothesis.truncated(len(hypothesis.tokens) - repeated)
                self.is_active = False
                return
        if following:
            self._rows = [row for row, _ in following[: self._settings.beam]]
            self._live = [hypothesis for _, hypothesis in following[: self._settings.beam]]
        # Early stopping: the search ends once a complete hypothesis ranks above all live ones.
        self.is_active = bool(following) and not (
            self._complete and max(map(self._rank, self._complete)) >= max(map(self._rank, self._live))
        )

    def request_rows(self, next_rows: dict[tuple[int, int], int]) -> None:
        """Adds the live hypotheses, as row and token, to the rows of the next step, unless they are there already."""
        if self.is_active:
            keys = [(row, one.tokens[-1]) for row, one in zip(self._rows, self._live, strict=True)]
            self._rows = [next_rows.setdefault(key, len(next_rows)) for key in keys]

    def best(self) -> Hypothesis:
        """The one in a loop if there is one, or else the best complete one, or else the best live one."""
        return self._looping or max(self._complete or self._live, key=self._rank)

    def _rank(self, hypothesis: Hypothesis) -> float:
        """By which hypotheses are compared: the normalised score and bonus."""
        # All bonuses are divided by the same length. A positive bonus divided by its own length would favour short
        # hypotheses.
        shared = float(max(1, self._steps) ** self._settings.length_exponent)
        return hypothesis.normalised(self._settings.length_exponent) + hypothesis.bonus / shared


def _candidates(
    live: Sequence[Hypothesis], scores: NDArray[np.float32], settings: SearchSettings
) -> Iterator[tuple[int, int]]:
    """Yields the best continuations, best first: the index of a live hypothesis, and the next token.

    Up to twice the beam, because each hypothesis may propose the end token.

    Args:
        live: the live hypotheses.
        scores: (live, vocabulary), the log-probabilities of the next token with bonuses.
        settings: settings of the search.
    """
    so_far = np.array([one.score + one.bonus for one in live], np.float32)
    # Only likely continuations are added up: an array of all totals takes longer than all else in this function.
    threshold = (scores.max(axis=1) + so_far).max() - settings.margin
    with np.errstate(invalid="ignore"):  # a hypothesis of probability 0 has no continuation with any margin
        indices, tokens = np.nonzero(scores >= (threshold - so_far)[:, None])
    totals = scores[indices, tokens] + so_far[indices]
    best = np.argsort(-totals, kind="stable")[: 2 * settings.beam]
    return zip(indices[best].tolist(), tokens[best].tolist(), strict=True)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities in nats over the last axis of logits (..., vocabulary); same shape."""
    shifted: NDArray[np.float32] = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def repetition(tokens: Sequence[int]) -> int:
    """Returns how many tokens at the end repeat the phrase before them; 0 if they are not a loop."""
    for length in range(1, min(MAX_PHRASE_TOKENS, len(tokens) // REPEATS) + 1):
        repeats = max(REPEATS, math.ceil(REPEATED_TOKENS / length))
        tail = tokens[-length * repeats :]
        if len(tail) == length * repeats and tail[:-length] == tail[length:]:
            return length * (repeats - 1)
    return 0
