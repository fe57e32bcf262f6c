"""What a CTC model can write: characters, or pieces of words, learnt from texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from editing.errors import BadInputError
from export.bundle import TOKENIZER, Bundle


def learn_vocabulary(texts: Iterable[str], size: int | None = None) -> tokenizers.Tokenizer:
    """A tokenizer for texts: of their characters, or with `size` of byte-pair pieces (Sennrich et al. 2016).

    Words begin with the mark of SentencePiece. Texts are lower-cased; marks other than the
    apostrophe become spaces.

    Raises:
        BadInputError: the texts have no letters, or `size` is smaller than the number of their characters.
    """
    tokenizer = of_pieces({})
    words = [tokenizer.normalizer.normalize_str(text) for text in texts]
    characters = [*sorted(set("".join(words)) - {" "}), pre_tokenizers.Metaspace().replacement]
    if len(characters) < 2:
        raise BadInputError("the texts have no letters to learn")
    if size is not None and size < len(characters):
        raise BadInputError(f"a vocabulary of {size} is too small: the texts have {len(characters)} characters")
    if size is None:
        tokenizer.model = models.BPE({character: place for place, character in enumerate(characters)}, [])
    else:
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=characters, show_progress=False)
        tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def of_pieces(pieces: Mapping[str, int]) -> tokenizers.Tokenizer:
    """A tokenizer that writes these pieces, each with its number, and joins none.

    Texts are lower-cased; marks other than the apostrophe become spaces.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE(dict(pieces), []))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[\u2018\u2019]"), "'"),
            normalizers.Replace(Regex(r"[^\p{L}\p{M}\p{N}']+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def tokens_of(bundle: Bundle) -> Callable[[str], list[int]]:
    """Gives the function that turns a text into a bundle's tokens.

    It raises BadInputError for a text that is empty, or has characters that the vocabulary lacks.

    Raises:
        BundleError: the tokenizer is damaged.
    """
    bundle.check(TOKENIZER)
    tokenizer = tokenizers.Tokenizer.from_file(str(bundle.path(TOKENIZER)))
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
