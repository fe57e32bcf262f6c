"""Which tokens of a vocabulary begin a term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_app.data.terms import normalise_term
from device_app.recognition.keyterms.terms import BOUNDARY, LETTER, START, Keyterms, is_letter
from device_app.recognition.subwords import WORD_START

DEAD = ""  # state inside a word that matches no term
SEPARATOR = "\0"  # between texts; no token that spells a part of a term has it


@dataclass(frozen=True)
class TokenIndex:
    """The tokens of a vocabulary that begin a term. Computing it takes long, so `keyterms.cache` stores it in a file.

    Attributes:
        texts: the different texts of the tokens, normalised.
        offsets: (texts + 1,); the tokens with the text i are `tokens[offsets[i] : offsets[i + 1]]`.
        tokens: (tokens with a text,).
        kinds: (vocabulary,), `LETTER` or `BOUNDARY`.
        openers: tokens after which a word may begin without a space, such as a hyphen.
        new_words: (n, 2), each a token and the index of its text, by token: those whose text is a space and then the
            beginning of a term.
        new_word_bonuses: (n,), of the tokens in `new_words`, in nats.
        first_letters: (m, 2), as `new_words`, but the text is the beginning of a term without a space.
        first_letter_bonuses: (m,), of the tokens in `first_letters`, in nats.
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
        """Computes the index of a list of terms.

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
        indices = {text: index for index, text in enumerate(texts)}

        def beginning(state: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            """The tokens that begin a term after `DEAD` or `START`, and their bonuses."""
            states = {text: state + text for text in texts if state or text.startswith(START)}
            found = [text for text, state in states.items() if terms.is_prefix(state)]
            pairs = sorted((token, indices[text]) for text in found for token in by_text[text])
            bonuses = [terms.partial_bonus(states[texts[index]]) for _, index in pairs]
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


def _texts(names: Sequence[str | None]) -> Sequence[str]:
    """The normalised texts of tokens, with a space for `WORD_START`; "" for a token without text."""
    spelled = [
        "" if not name or (name[0] == "<" and name[-1] == ">" and len(name) > 2) or SEPARATOR in name else name
        for name in names
    ]
    return normalise_term(SEPARATOR.join(spelled).replace(WORD_START, " ")).split(SEPARATOR) if spelled else []
