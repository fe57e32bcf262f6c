"""Keyterms: decoding prefers words and phrases that the user has listed (contextual biasing by shallow fusion).

A hypothesis earns a bonus while it spells a term, and loses it again if it does not complete the term, so that only
whole terms count (Le et al. 2021, arXiv 2104.02194; also Zhao et al. 2019, "Shallow-fusion end-to-end contextual
biasing"). Those papers build a graph of tokens. This module uses a graph of characters: a token advances by all
characters of its spelling. The graph covers every split of a term into tokens and every case, the bonus does not
depend on the split, and loading a list needs no tokenisation. States are created when decoding first reaches them.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from device_app.data.terms import Term, folded
from device_app.recognition.results import TermMatch
from device_app.recognition.subwords import WORD_START

# Chosen on training lines of cv-us, cv-canada and telephone-prompts (docs/terms.md). With 1.0 and 8.0 the decoder
# sometimes writes a term over and over.
NATS_PER_CHARACTER = 0.8
MOST_NATS = 6.0
MIN_BONUS = 1e-3  # nats; smaller bonuses are rounding errors

STATES = 4096  # cached states
START = " "  # state where a word may begin without a space: at first, after a lone `WORD_START`, after a hyphen
DEAD = ""  # state inside a word that matches no term
LAST = "\U0010ffff"  # sorts after all characters of a term
SEPARATOR = "\0"  # between texts; no token that spells a part of a term has it

# How a token begins that does not continue a term. With a letter: the word before it has not ended. With any other
# character, or without text: the word before it has ended.
LETTER, BOUNDARY = 0, 1


@dataclass(frozen=True)
class Strength:
    """The bonus in nats (natural logarithms of probability), by the number of characters that match.

    Attributes:
        per_character: bonus of each matching character.
        most: upper limit for a whole term, before its weight.
    """

    per_character: float = NATS_PER_CHARACTER
    most: float = MOST_NATS

    def bonus(self, characters: int) -> float:
        return min(self.most, self.per_character * characters)


class Keyterms:
    """Sorted terms, so that bisection finds those with a given prefix; loading only sorts the list.

    A state is the text that has matched so far, from the beginning of a word: a space and then characters in lower
    case. `START` and `DEAD` match nothing.
    """

    def __init__(self, terms: Sequence[Term | str], strength: Strength | None = None) -> None:
        """
        Args:
            terms: words and phrases, with or without a weight; if two differ only in case, the larger weight counts.
            strength: size of the bonus.

        Raises:
            BadInputError: one of them is not a valid term (`checked_term`).
        """
        strength = strength or Strength()
        known = [Term(one) if isinstance(one, str) else one for one in terms]
        # One call for all texts: 10,000 calls take ten times as long. No term has a line break.
        texts = folded("\n".join([term.text for term in known])).split("\n") if known else []
        weights: dict[str, float] = {}
        for text, term in zip(texts, known, strict=True):
            spelling = START + text
            if term.weight > weights.get(spelling, 0.0):
                weights[spelling] = term.weight
        self.strength = strength
        self._weights = weights
        self._spellings = sorted(weights)
        self._sorted_weights = np.array([weights[one] for one in self._spellings], np.float64)
        self._heaviest = float(self._sorted_weights.max(initial=0.0))
        self._is_even = bool((self._sorted_weights == self._heaviest).all())

    def __len__(self) -> int:
        return len(self._spellings)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._spellings), default=0)

    @property
    def identity(self) -> bytes:
        """All that determines the bonuses: the spellings, their weights and the strength."""
        return "\n".join(self._spellings).encode() + self._sorted_weights.tobytes() + repr(self.strength).encode()

    def is_prefix(self, text: str) -> bool:
        """Whether a text is a prefix of a term, or a whole term."""
        place = bisect_left(self._spellings, text)
        return place < len(self._spellings) and self._spellings[place].startswith(text)

    def found_in(self, text: str) -> list[str]:
        """The terms in a text, in lower case and in order; at each place only the longest that is a whole word."""
        line = START + folded(" ".join(text.split())) + START
        starts = [i for i in range(1, len(line) - 1) if is_letter(line[i]) and not is_letter(line[i - 1])]
        ends = [i for i in range(2, len(line)) if is_letter(line[i - 1]) and not is_letter(line[i])]
        found: list[str] = []
        done = 0
        for start in starts:
            if start < done or line[start - 1] == "'":
                continue
            near = ends[bisect_right(ends, start) : bisect_right(ends, start + self._longest)]
            for end in reversed(near):
                if START + line[start:end] in self._weights:
                    found.append(line[start:end])
                    done = end
                    break
        return found

    def starting_with(self, state: str) -> Sequence[str]:
        """The spellings, each a space and a term in lower case, that begin with a state."""
        return self._spellings[self._range(state)]

    def partial(self, state: str) -> float:
        """The bonus in nats of a text that is a prefix of a term, or the whole term."""
        if len(state) <= 1:
            return 0.0
        weight = self._heaviest if self._is_even else float(self._sorted_weights[self._range(state)].max())
        return weight * self.strength.bonus(len(state) - 1)

    def whole(self, spelling: str) -> float:
        """The bonus of a term in nats; 0 if the spelling is not a term."""
        return self._weights.get(spelling, 0.0) * self.strength.bonus(len(spelling) - 1)

    def kept(self, state: str, following: int) -> float:
        """The bonus that a text keeps if it does not continue the term: that of the longest term it has completed.

        Args:
            state: the text.
            following: `LETTER` or `BOUNDARY`; before a letter the last word has not ended.
        """
        if following == BOUNDARY and (found := self.whole(state)):
            return found
        for end in range(len(state) - 1, 1, -1):
            if not is_letter(state[end]) and (found := self.whole(state[:end])):
                return found
        return 0.0

    def matches(self, text: str, unaided: str) -> list[TermMatch]:
        """The terms in a text, and for each whether the text without terms lacks it."""
        left = Counter(self.found_in(unaided))
        found = []
        for term in self.found_in(text):
            found.append(TermMatch(term, is_helped=left[term] <= 0))
            left[term] -= 1
        return found

    def _range(self, state: str) -> slice:
        return slice(bisect_left(self._spellings, state), bisect_left(self._spellings, state + LAST))


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
        tokens = sorted(found)
        return cls(
            np.array(tokens, np.int64),
            np.array([found[token][1] for token in tokens], np.float32),
            {token: found[token][0] for token in tokens},
        )


@dataclass(frozen=True)
class Move:
    """The transitions from a state.

    Attributes:
        leaving: bonus of a token that continues no term, by how it begins (`LETTER`, `BOUNDARY`).
        onward: tokens that continue the terms of the state; they take precedence over those that begin a new word.
    """

    leaving: NDArray[np.float32]
    onward: Matches


@dataclass(frozen=True)
class TokenIndex:
    """What a list of terms is to a vocabulary. It takes long to make, so that `keyterms.cache` keeps it in a file.

    Attributes:
        texts: the different texts of the tokens, normalised.
        offsets: (texts + 1,); the tokens with the text i are `tokens[offsets[i] : offsets[i + 1]]`.
        tokens: (tokens with a text,).
        kinds: (vocabulary,), `LETTER` or `BOUNDARY`.
        openers: tokens after which a word may begin without a space.
        new_words: (words, 2), tokens in ascending order, and the index of the text of each; a text with its space
            begins a term.
        new_word_bonuses: (words,), in nats.
        first_letters: (letters, 2), the same for texts that begin a term after a space.
        first_letter_bonuses: (letters,), in nats.
    """

    texts: Sequence[str]
    offsets: NDArray[np.int64]
    tokens: NDArray[np.int64]
    kinds: NDArray[np.int64]
    openers: NDArray[np.int64]
    new_words: NDArray[np.int64]
    new_word_bonuses: NDArray[np.float32]
    first_letters: NDArray[np.int64]
    first_letter_bonuses: NDArray[np.float32]

    @classmethod
    def of(cls, terms: Keyterms, names: Sequence[str | None]) -> TokenIndex:
        """
        Args:
            terms: the terms.
            names: the names of the tokens; None and names such as <s> or <0x41> have no text.
        """
        spelled = _texts(names)
        by_text: dict[str, list[int]] = {}
        for token, text in enumerate(spelled):
            if text:
                by_text.setdefault(text, []).append(token)
        texts = list(by_text)
        places = {text: index for index, text in enumerate(texts)}

        def beginning(state: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            reached = {text: state + text for text in texts if state or text.startswith(START)}
            found = [text for text, after in reached.items() if terms.is_prefix(after)]
            pairs = sorted((token, places[text]) for text in found for token in by_text[text])
            bonuses = [terms.partial(reached[texts[place]]) for _, place in pairs]
            return np.array(pairs, np.int64).reshape(-1, 2), np.array(bonuses, np.float32)

        new_words, new_word_bonuses = beginning(DEAD)
        first_letters, first_letter_bonuses = beginning(START)
        return cls(
            texts=texts,
            offsets=np.cumsum([0, *map(len, by_text.values())], dtype=np.int64),
            tokens=np.array([token for tokens in by_text.values() for token in tokens], np.int64),
            kinds=np.array([LETTER if text and is_letter(text[0]) else BOUNDARY for text in spelled], np.int64),
            openers=np.array(
                [i for i, text in enumerate(spelled) if text and not is_letter(text[-1]) and text[-1] != "'"], np.int64
            ),
            new_words=new_words,
            new_word_bonuses=new_word_bonuses,
            first_letters=first_letters,
            first_letter_bonuses=first_letter_bonuses,
        )

    def tokens_of(self, index: int) -> Sequence[int]:
        """The tokens that have a text, by its index."""
        found: list[int] = self.tokens[self.offsets[index] : self.offsets[index + 1]].tolist()
        return found


class TermGraph:
    """The states of a list of terms, and the transitions between them for the tokens of a vocabulary."""

    def __init__(self, terms: Keyterms, names: Sequence[str | None], index: TokenIndex | None = None) -> None:
        """
        Args:
            terms: the terms to prefer.
            names: the names of the tokens; not needed with an index.
            index: of these terms and names, if it is known.
        """
        self.terms = terms
        self._index = index or TokenIndex.of(terms, names)
        self._kinds = self._index.kinds
        self._openers = frozenset(self._index.openers.tolist())
        self._by_text = dict(zip(self._index.texts, range(len(self._index.texts)), strict=True))
        self._move = lru_cache(STATES)(self._found_move)

    def after(self, state: str, token: int) -> tuple[str, float]:
        """The next state, and the bonus of one token."""
        move = self._move(state)
        for matches, more in ((move.onward, 0.0), (self._new_words, float(move.leaving[BOUNDARY]))):
            if token in matches.states:
                return matches.states[token], float(matches.bonuses[np.searchsorted(matches.tokens, token)]) + more
        return (START if token in self._openers else DEAD), float(move.leaving[self._kinds[token]])

    def next_state(self, state: str, token: int) -> str:
        """The next state alone."""
        found = self._move(state).onward.states.get(token) or self._new_words.states.get(token)
        return found or (START if token in self._openers else DEAD)

    def at_end(self, state: str) -> float:
        """The bonus of ending the text here, which takes back the bonus of a term that is not complete."""
        return float(self._move(state).leaving[BOUNDARY])

    def bonus(self, tokens: Iterable[int]) -> float:
        """The bonus of a whole text in nats: the sum over the terms in it."""
        state, total = START, 0.0
        for token in tokens:
            state, earned = self.after(state, token)
            total += earned
        return total + self.at_end(state)

    def add_bonuses(self, state: str, scores: NDArray[np.float32]) -> None:
        """Adds to `scores`, (vocabulary,), the bonus of each token after a state; tokens without a name come last."""
        move = self._move(state)
        new, onward = self._new_words, move.onward
        before = scores[onward.tokens]
        if move.leaving.any():
            scores[: len(self._kinds)] += move.leaving[self._kinds]
            scores[len(self._kinds) :] += move.leaving[BOUNDARY]
        scores[new.tokens] += new.bonuses
        scores[onward.tokens] = before + onward.bonuses

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._index.texts), default=0)

    @cached_property
    def _new_words(self) -> Matches:
        """Tokens that begin a word, including its space; each ends the word before it."""
        return self._indexed(DEAD, self._index.new_words, self._index.new_word_bonuses)

    @cached_property
    def _first_letters(self) -> Matches:
        """Tokens that begin a word whose space has already been decoded."""
        return self._indexed(START, self._index.first_letters, self._index.first_letter_bonuses)

    def _indexed(self, state: str, pairs: NDArray[np.int64], bonuses: NDArray[np.float32]) -> Matches:
        tokens, places = pairs.T
        texts = self._index.texts
        states = [state + texts[place] for place in places.tolist()]
        return Matches(tokens, bonuses, dict(zip(tokens.tolist(), states, strict=True)))

    def _found_move(self, state: str) -> Move:
        if state == START:
            return Move(np.zeros(2, np.float32), self._first_letters)
        held = self.terms.partial(state)
        leaving = [self.terms.kept(state, following) - held for following in (LETTER, BOUNDARY)]
        found: dict[int, tuple[str, float]] = {}
        # The longest match wins; shorter matches begin at a later word of the state.
        for context in _contexts(state):
            for token, reached in self._first_letters.states.items() if context == START else self._leading(context):
                if token not in found:
                    earned = 0.0 if context == state else self.terms.kept(state, int(self._kinds[token]))
                    found[token] = reached, self.terms.partial(reached) + earned - held
        return Move(np.array(leaving, np.float32), Matches.of(found))

    def _leading(self, context: str) -> Iterator[tuple[int, str]]:
        """Yields the tokens that continue a term after `context`, and the state that each leads to."""
        seen: set[str] = set()
        done = len(context)
        for spelling in self.terms.starting_with(context):
            for end in range(done + 1, min(len(spelling), done + self._longest) + 1):
                text = spelling[done:end]
                if text not in seen:
                    seen.add(text)
                    if (place := self._by_text.get(text)) is not None:
                        for token in self._index.tokens_of(place):
                            yield token, context + text


@lru_cache(STATES)
def is_letter(character: str) -> bool:
    """Whether a character continues a word: "cat" does not end before the "s" of "cats", but does before "'s"."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def _texts(names: Sequence[str | None]) -> Sequence[str]:
    """The normalised texts of tokens, with a space for `WORD_START`; "" for a token without text."""
    spelled = [
        "" if not name or (name[0] == "<" and name[-1] == ">" and len(name) > 2) or SEPARATOR in name else name
        for name in names
    ]
    return folded(SEPARATOR.join(spelled).replace(WORD_START, " ")).split(SEPARATOR) if spelled else []


def _contexts(state: str) -> Iterator[str]:
    """Yields a state, its suffixes from each later word, and `START` if a word may begin without a space."""
    start = 0 if len(state) > 1 else len(state)
    while 0 <= start < len(state) - 1:
        yield state[start:]
        start = state.find(" ", start + 1)
    if state.endswith(" "):
        yield START
