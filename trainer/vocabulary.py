"""Tokenizers of CTC models: characters, or subword units trained on texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from editing.errors import BadInputError
from export.bundle import Bundle


def build_tokenizer(texts: Iterable[str], size: int | None = None) -> tokenizers.Tokenizer:
    """Builds a tokenizer of the texts' characters, or of `size` BPE subword units (Sennrich et al. 2016).

    Words begin with SentencePiece's word-start mark. Texts are lower-cased; punctuation other than
    the apostrophe becomes spaces.

    Raises:
        BadInputError: the texts have no letters, or `size` is smaller than the number of their characters.
    """
    tokenizer = subword_tokenizer({})
    words = [tokenizer.normalizer.normalize_str(text) for text in texts]
    characters = [*sorted(set("".join(words)) - {" "}), pre_tokenizers.Metaspace().replacement]
    if len(characters) < 2:
        raise BadInputError("the texts have no letters")
    if size is not None and size < len(characters):
        raise BadInputError(f"a vocabulary of {size} is too small: the texts have {len(characters)} characters")
    if size is None:
        tokenizer.model = models.BPE({character: index for index, character in enumerate(characters)}, [])
    else:
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=characters, show_progress=False)
        tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def subword_tokenizer(pieces: Mapping[str, int]) -> tokenizers.Tokenizer:
    """Builds a tokenizer from subword units and their token numbers, without BPE merges.

    Texts are lower-cased; punctuation other than the apostrophe becomes spaces.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE(dict(pieces), []))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[\u2018\u2019]"), "'"),  # typographic apostrophes
            normalizers.Replace(Regex(r"[^\p{L}\p{M}\p{N}']+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def ctc_tokeniser(bundle: Bundle) -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens of a CTC bundle.

    That function raises BadInputError for a text that is empty or has characters outside the vocabulary.

    Raises:
        BundleError: the tokenizer is damaged.
    """
    tokenizer = bundle.tokenizer()
    known = set("".join(tokenizer.get_vocab())) | {" "}

    def tokens(text: str) -> list[int]:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        unknown = sorted(set(normal) - known)
        if unknown:
            raise BadInputError(
                f"its text has characters that the model cannot write: {' '.join(unknown)}; write numbers as words"
            )
        found: list[int] = tokenizer.encode(normal, add_special_tokens=False).ids
        if not found:
            raise BadInputError("its text has no letters")
        return found

    return tokens
