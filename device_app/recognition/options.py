"""How speech is decoded: what a caller may choose beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_app.data.terms import Term
from device_app.recognition.ngram import NGram


@dataclass(frozen=True)
class DecodingOptions:
    """Settings of the decoding; a model family that cannot honour one of them raises BadInputError when it is loaded.

    Attributes:
        language_model: of words, to decode with a beam; for CTC models. None decodes greedily.
        beam: hypotheses that are kept while decoding, at least 1, which is greedy; None is the family's own.
        keyterms: words and phrases to expect (`recognition.keyterms`); a beam of 1 seldom finds them.
    """

    language_model: NGram | None = None
    beam: int | None = None
    keyterms: Sequence[Term | str] = ()


DEFAULT = DecodingOptions()
