"""Decoding options: how a caller may change the decoding of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_app.data.terms import Replacement, Term
from device_app.recognition.ngram import NGram
from editing.errors import BadInputError
from editing.ranges import Range

BEAM = Range(1, 64, is_whole=True)  # limits of `DecodingOptions.beam`


@dataclass(frozen=True)
class DecodingOptions:
    """Settings of the decoding. A model family raises BadInputError when it is loaded with one it does not support.

    Attributes:
        language_model: a word n-gram model, for CTC models; beam search then uses it.
        beam: hypotheses kept while decoding, at least 1 (greedy); None is the family's default. It has no effect on
            CTC models without a language model or keyterms, where a beam finds nothing better.
        keyterms: words and phrases to expect (see `recognition.keyterms`). A beam of 1 seldom finds them.
        replacements: words to replace in the decoded text, in this order (see `recognition.replacements`).
    """

    language_model: NGram | None = None
    beam: int | None = None
    keyterms: Sequence[Term | str] = ()
    replacements: Sequence[Replacement] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: the beam is not a whole number from 1 to 64, the language model is not one, the keyterms are
                one text instead of a list, or the replacements are not a list of `Replacement`.
        """
        if self.beam is not None:
            BEAM.check("beam", self.beam)
        _check_types(self.language_model, self.keyterms, self.replacements)


def _check_types(language_model: object, keyterms: object, replacements: object) -> None:
    if not isinstance(language_model, NGram | None):
        raise BadInputError(f"language_model is a {type(language_model).__name__}; expected an NGram: NGram.read(PATH)")
    if (
        not isinstance(keyterms, Sequence)
        or isinstance(keyterms, str)
        or not all(isinstance(one, Term | str) for one in keyterms)
    ):
        raise BadInputError("keyterms must be a list of words and phrases")
    if not isinstance(replacements, Sequence) or not all(isinstance(one, Replacement) for one in replacements):
        raise BadInputError("replacements must be a list of Replacement(PATTERN, TEXT)")


DEFAULT = DecodingOptions()
