"""Keyterms: decoding prefers words and phrases that the user has listed (contextual biasing by shallow fusion).

A hypothesis receives a bonus for each character of a term, and loses these bonuses if it does not complete the term,
so that only whole terms count (Le et al. 2021, arXiv 2104.02194; also Zhao et al. 2019, "Shallow-fusion end-to-end
contextual biasing"). Those papers build a graph of tokens. This module uses a graph of characters: a token advances
by all characters of its spelling. The graph covers every split of a term into tokens and every case, the bonus does
not depend on the split, and loading a list needs no tokenisation. States are created when decoding first reaches them.

A state is the text that matches the beginning of a term so far (see `keyterms.terms.Keyterms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.keyterms.terms import BOUNDARY, LETTER, START, Keyterms
from device_app.recognition.keyterms.token_index import DEAD, TokenIndex

MIN_BONUS = 1e-3  # nats; smaller bonuses are rounding errors
CACHED_STATES = 4096  # states whose transitions are kept in memory; those of others are computed again


@dataclass(frozen=True)
class Matches:
    """Tokens that continue or begin a term from a state.

    Attributes:
        tokens: (matches,), in ascending order.
        bonuses: (matches,), the bonus of each token in nats.
        states: the state after each token.
    """

    tokens: NDArray[np.int64]
    bonuses: NDArray[np.float32]
    states: Mapping[int, str]

    @classmethod
    def of(cls, found: Mapping[int, tuple[str, float]]) -> Matches:
        """Makes them from the state after each token and its bonus, by token."""
        tokens = sorted(found)
        return cls(
            np.array(tokens, np.int64),
            np.array([found[token][1] for token in tokens], np.float32),
            {token: found[token][0] for token in tokens},
        )


@dataclass(frozen=True)
class Transitions:
    """What each token does in a state.

    Attributes:
        exit_bonuses: (2,), in nats, the bonus of a token that continues no term, by its kind (`LETTER`, `BOUNDARY`).
        continuations: tokens that continue the terms of the state; they take precedence over those that
            begin a new word.
    """

    exit_bonuses: NDArray[np.float32]
    continuations: Matches


class TermGraph:
    """The states of a list of terms, and the transitions between them for the tokens of a vocabulary."""

    def __init__(self, terms: Keyterms, names: Sequence[str | None], index: TokenIndex | None = None) -> None:
        """
        Args:
            terms: the terms to prefer.
            names: the text of each token of the vocabulary, None for tokens without text; not read if `index` is given.
            index: the index of these terms and this vocabulary, for instance from `keyterms.cache`; None computes it.
        """
        self.terms = terms
        self._index = index or TokenIndex.of(terms, names)
        self._kinds = self._index.kinds
        self._openers = frozenset(self._index.openers.tolist())
        self._by_text = dict(zip(self._index.texts, range(len(self._index.texts)), strict=True))
        self._transitions = lru_cache(CACHED_STATES)(self._compute_transitions)

    def advance(self, state: str, token: int) -> tuple[str, float]:
        """Returns the state after one token, and the bonus of the token in nats; it may be negative."""
        transitions = self._transitions(state)
        for matches, exit_bonus in (
            (transitions.continuations, 0.0),
            (self._new_words, float(transitions.exit_bonuses[BOUNDARY])),
        ):
            if token in matches.states:
                bonus = matches.bonuses[np.searchsorted(matches.tokens, token)]
                return matches.states[token], float(bonus) + exit_bonus
        return (START if token in self._openers else DEAD), float(transitions.exit_bonuses[self._kinds[token]])

    def next_state(self, state: str, token: int) -> str:
        """Returns the state after one token, without computing the bonus."""
        found = self._transitions(state).continuations.states.get(token) or self._new_words.states.get(token)
        return found or (START if token in self._openers else DEAD)

    def end_bonus(self, state: str) -> float:
        """The bonus in nats of ending the text in a state; negative if it takes back that of an incomplete term."""
        return float(self._transitions(state).exit_bonuses[BOUNDARY])

    def bonus(self, tokens: Iterable[int]) -> float:
        """The bonus of a whole text in nats: the sum over the terms in it."""
        state, total = START, 0.0
        for token in tokens:
            state, bonus = self.advance(state, token)
            total += bonus
        return total + self.end_bonus(state)

    def add_bonuses(self, state: str, scores: NDArray[np.float32]) -> None:
        """Adds the bonus in nats of each token after a state to `scores`, (outputs,).

        A model may have more outputs than its tokenizer has tokens: the outputs after those count as `BOUNDARY`.
        """
        transitions = self._transitions(state)
        continuations, count = transitions.continuations, len(self._kinds)
        before = scores[continuations.tokens]
        letter, boundary = transitions.exit_bonuses.tolist()
        if letter == boundary:
            if boundary:
                scores += boundary
        else:
            scores[:count] += transitions.exit_bonuses[self._kinds]
            scores[count:] += boundary
        scores[:count] += self._new_word_bonuses
        scores[continuations.tokens] = before + continuations.bonuses

    @cached_property
    def _longest(self) -> int:
        """Characters of the longest text of a token."""
        return max(map(len, self._index.texts), default=0)

    @cached_property
    def _new_words(self) -> Matches:
        """Tokens that spell a space and then the beginning of a term; the space ends the word before it."""
        return self._indexed(DEAD, self._index.new_words, self._index.new_word_bonuses)

    @cached_property
    def _new_word_bonuses(self) -> NDArray[np.float32]:
        """(vocabulary,): the bonuses of `_new_words`, because adding whole arrays is faster than adding at indices."""
        bonuses = np.zeros(len(self._kinds), np.float32)
        bonuses[self._new_words.tokens] = self._new_words.bonuses
        return bonuses

    @cached_property
    def _first_letters(self) -> Matches:
        """Tokens that spell the beginning of a term without a space, for the state `START`."""
        return self._indexed(START, self._index.first_letters, self._index.first_letter_bonuses)

    def _indexed(self, state: str, pairs: NDArray[np.int64], bonuses: NDArray[np.float32]) -> Matches:
        """The matches after a state from pairs of a token and the index of its text, as in `TokenIndex`."""
        tokens, indices = pairs.T
        texts = self._index.texts
        states = [state + texts[index] for index in indices.tolist()]
        return Matches(tokens, bonuses, dict(zip(tokens.tolist(), states, strict=True)))

    def _compute_transitions(self, state: str) -> Transitions:
        if state == START:
            return Transitions(np.zeros(2, np.float32), self._first_letters)
        current = self.terms.partial_bonus(state)  # what the hypothesis has received for this state so far
        exit_bonuses = [self.terms.completed_bonus(state, kind) - current for kind in (LETTER, BOUNDARY)]
        found: dict[int, tuple[str, float]] = {}
        # A token may continue the whole state or only its last words: after "new york", "new york city" or "york inn".
        # The longest match counts.
        for context in _contexts(state):
            for token, next_state in (
                self._first_letters.states.items() if context == START else self._continuing(context)
            ):
                if token not in found:
                    kept = 0.0 if context == state else self.terms.completed_bonus(state, int(self._kinds[token]))
                    found[token] = next_state, self.terms.partial_bonus(next_state) + kept - current
        return Transitions(np.array(exit_bonuses, np.float32), Matches.of(found))

    def _continuing(self, context: str) -> Iterator[tuple[int, str]]:
        """Yields the tokens that continue a term after `context`, and the state that each leads to."""
        seen: set[str] = set()
        done = len(context)
        for spelling in self.terms.starting_with(context):
            for end in range(done + 1, min(len(spelling), done + self._longest) + 1):
                text = spelling[done:end]
                if text not in seen:
                    seen.add(text)
                    if (index := self._by_text.get(text)) is not None:
                        for token in self._index.tokens_of(index):
                            yield token, context + text


def _contexts(state: str) -> Iterator[str]:
    """Yields the texts from which a token may continue a term: the state, and its suffixes from each later word.

    After a trailing space, yields `START` too, because a term may begin there.
    """
    start = 0 if len(state) > 1 else len(state)
    while 0 <= start < len(state) - 1:
        yield state[start:]
        start = state.find(" ", start + 1)
    if state.endswith(" "):
        yield START
