"""Decoding options: how a caller may change the decoding of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_app.data.terms import Term
from device_app.recognition.ngram import NGram


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


DEFAULT = DecodingOptions()
