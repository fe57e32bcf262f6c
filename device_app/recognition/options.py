"""Decoding options: how a caller may change the decoding of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_app.data.terms import Term
from device_app.recognition.ngram import NGram
from editing.errors import BadInputError

MAX_BEAM = 64


@dataclass(frozen=True)
class DecodingOptions:
    """Settings of the decoding. A model family raises BadInputError when it is loaded with one it does not support.

    Attributes:
        language_model: a word n-gram model, for CTC models; beam search then uses it.
        beam: hypotheses kept while decoding, at least 1 (greedy); None is the family's default. It has no effect on
            CTC models without a language model or keyterms, where a beam finds nothing better.
        keyterms: words and phrases to expect (see `recognition.keyterms`). A beam of 1 seldom finds them.
    """

    language_model: NGram | None = None
    beam: int | None = None
    keyterms: Sequence[Term | str] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: the beam is not a whole number from 1 to 64, or the keyterms are one text instead of a list.
        """
        if self.beam is not None and not (type(self.beam) is int and 1 <= self.beam <= MAX_BEAM):
            raise BadInputError(f"a beam of {self.beam!r}; expected a whole number from 1 to {MAX_BEAM}")
        if isinstance(self.keyterms, str) or not all(isinstance(one, Term | str) for one in self.keyterms):
            raise BadInputError("keyterms must be a list of words and phrases")


DEFAULT = DecodingOptions()
