"""A list of terms, and the bonus of the text that matches them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from device_app.data.names import JOINERS
from device_app.data.terms import Term, normalise_term
from device_app.recognition.results import TermMatch

# Chosen on training utterances of cv-us, cv-canada and telephone-prompts (docs/terms.md). With 1.0 and 8.0 the decoder
# sometimes repeats a term many times.
NATS_PER_CHARACTER = 0.8
MAX_NATS = 6.0

START = " "  # state where a word may begin without a space: at first, after a lone `WORD_START`, after a hyphen
LAST = "\U0010ffff"  # a character that sorts after all characters of a term

# The kind of a token that does not continue a term, by its first character: a letter continues the word before it;
# any other character, or none, ends that word.
LETTER, BOUNDARY = 0, 1


@dataclass(frozen=True)
class Strength:
    """The bonus in nats (natural logarithms of probability), by the number of characters that match.

    Attributes:
        per_character: bonus of each matching character.
        maximum: upper limit for a whole term, before it is multiplied by the term's weight.
    """

    per_character: float = NATS_PER_CHARACTER
    maximum: float = MAX_NATS

    def bonus(self, characters: int) -> float:
        return min(self.maximum, self.per_character * characters)


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
            BadInputError: one of them is not a valid term.
        """
        strength = strength or Strength()
        given = [Term(one) if isinstance(one, str) else one for one in terms]
        # One call for all texts: 10,000 calls take ten times as long. No term has a line break.
        texts = normalise_term("\n".join([term.text for term in given])).split("\n") if given else []
        weights: dict[str, float] = {}
        for text, term in zip(texts, given, strict=True):
            spelling = START + text
            if term.weight > weights.get(spelling, 0.0):
                weights[spelling] = term.weight
        self.strength = strength
        self._weights = weights  # by spelling: `START` and the term in lower case
        self._spellings = sorted(weights)
        self._sorted_weights = np.array([weights[one] for one in self._spellings], np.float64)
        self._heaviest = float(self._sorted_weights.max(initial=0.0))
        self._has_equal_weights = bool((self._sorted_weights == self._heaviest).all())

    def __len__(self) -> int:
        return len(self._spellings)

    @cached_property
    def _longest(self) -> int:
        """Characters of the longest spelling."""
        return max(map(len, self._spellings), default=0)

    @property
    def identity(self) -> bytes:
        """All that determines the bonuses: the spellings, their weights and the strength."""
        return "\n".join(self._spellings).encode() + self._sorted_weights.tobytes() + repr(self.strength).encode()

    def is_prefix(self, text: str) -> bool:
        """Whether a text is a prefix of a term, or a whole term."""
        index = bisect_left(self._spellings, text)
        return index < len(self._spellings) and self._spellings[index].startswith(text)

    def found_in(self, text: str) -> list[str]:
        """The terms in a text, in lower case and in order; at each place only the longest that is a whole word."""
        line = START + normalise_term(" ".join(text.split())) + START
        starts = [i for i in range(1, len(line) - 1) if is_letter(line[i]) and not is_letter(line[i - 1])]
        ends = [i for i in range(2, len(line)) if is_letter(line[i - 1]) and not is_letter(line[i])]
        found: list[str] = []
        done = 0
        for start in starts:
            if start < done or line[start - 1] == "'":  # within the match before, or the "s" of "cat's"
                continue
            ends_within_reach = ends[bisect_right(ends, start) : bisect_right(ends, start + self._longest)]
            for end in reversed(ends_within_reach):
                if START + line[start:end] in self._weights:
                    found.append(line[start:end])
                    done = end
                    break
        return found

    def starting_with(self, state: str) -> Sequence[str]:
        """The spellings, each a space and a term in lower case, that begin with a state."""
        return self._spellings[self._range(state)]

    def partial_bonus(self, state: str) -> float:
        """The bonus in nats of a text that is a prefix of terms, or a whole term; their largest weight counts."""
        if len(state) <= 1:
            return 0.0
        weight = self._heaviest if self._has_equal_weights else float(self._sorted_weights[self._range(state)].max())
        return weight * self.strength.bonus(len(state) - 1)

    def term_bonus(self, spelling: str) -> float:
        """The bonus of a term in nats; 0 if the spelling is not a term."""
        return self._weights.get(spelling, 0.0) * self.strength.bonus(len(spelling) - 1)

    def completed_bonus(self, state: str, following: int) -> float:
        """The bonus in nats of the longest term that a state has completed, which it keeps if no longer term follows.

        Args:
            state: for instance " new york c", which has completed "new york" and may become "new york city".
            following: kind of the next token, `LETTER` or `BOUNDARY`; before a letter the last word has not ended.
        """
        if following == BOUNDARY and (found := self.term_bonus(state)):
            return found
        for end in range(len(state) - 1, 1, -1):
            if not is_letter(state[end]) and (found := self.term_bonus(state[:end])):
                return found
        return 0.0

    def matches(self, text: str, unaided: str) -> list[TermMatch]:
        """The terms in a text, and for each whether keyterms helped to find it.

        Args:
            text: decoded with keyterms.
            unaided: decoded without keyterms, from the same audio.
        """
        left = Counter(self.found_in(unaided))
        found = []
        for term in self.found_in(text):
            found.append(TermMatch(term, is_helped=left[term] <= 0))
            left[term] -= 1
        return found

    def _range(self, state: str) -> slice:
        """Where in `_spellings` those are that begin with a state."""
        return slice(bisect_left(self._spellings, state), bisect_left(self._spellings, state + LAST))


@lru_cache(4096)
def is_letter(character: str) -> bool:
    """Whether a character continues a word: "cat" does not end before the "s" of "cats", but does before "'s".

    A joiner does: the word before it is not a term of its own.
    """
    return character.isalnum() or character in JOINERS or unicodedata.category(character)[0] == "M"
