"""Word and character error rates under two named normalisers, which are always reported together.

`basic` removes case and punctuation. `english` is Whisper's English normaliser (spelling, numbers,
contractions), with digits separated, because references differ in how they write numbers
("1 9 8 4" or "1984", "0800" or "oh eight hundred") and spelling should not count as an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.errors import BadInputError, counted
from export.bundle import DEFAULT_LANGUAGE

Normaliser = Callable[[str], str]

# Characters that are typed for an apostrophe; U+0027 itself is the one that they become.
_APOSTROPHES = str.maketrans(
    dict.fromkeys(
        "\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}\N{SINGLE HIGH-REVERSED-9 QUOTATION MARK}"
        "\N{MODIFIER LETTER APOSTROPHE}\N{MODIFIER LETTER TURNED COMMA}\N{MODIFIER LETTER PRIME}\N{PRIME}"
        "\N{ACUTE ACCENT}\N{GRAVE ACCENT}\N{FULLWIDTH APOSTROPHE}\N{LATIN SMALL LETTER SALTILLO}"
        "\N{MODIFIER LETTER VERTICAL LINE}\N{MODIFIER LETTER ACUTE ACCENT}\N{MODIFIER LETTER GRAVE ACCENT}",
        "'",
    )
)
# Characters that are not seen: zero width spaces, which end a word in Khmer and Thai, become spaces; the others vanish.
# Joiners stay: they are part of the spelling.
_INVISIBLE = str.maketrans(
    {"\N{ZERO WIDTH SPACE}": " "}
    | dict.fromkeys(
        "\N{SOFT HYPHEN}\N{ZERO WIDTH NO-BREAK SPACE}\N{WORD JOINER}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
        "\N{ARABIC LETTER MARK}\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # direction of a part of a text
        "",
    )
)
# A character and its marks, in Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese.
_WITHOUT_SPACES = re.compile(
    "[\u0e01-\u0e2e\u0e2f-\u0e30\u0e32-\u0e33\u0e40-\u0e46][\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*"
    "|[\u0e81-\u0eb0\u0eb2-\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf][\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece]*"
    "|[\u0f40-\u0f6c][\u0f71-\u0f84\u0f8d-\u0fbc]*|[\u1000-\u102a\u103f][\u102b-\u103e]*|[\u1780-\u17b3][\u17b4-\u17d3]*"
    "|[\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd][\u3099\u309a\u30fc]*"
)
_VOWEL_MARKS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Of several full stops, Whisper's normaliser removes every second one.
_ELLIPSIS = re.compile(r"\.{2,}")
_FRACTION = re.compile("[\N{VULGAR FRACTION ONE QUARTER}-\N{VULGAR FRACTION THREE QUARTERS}\u2150-\u215e\u2189]")
_ARABIC_SEPARATORS = str.maketrans({"\N{ARABIC DECIMAL SEPARATOR}": ".", "\N{ARABIC THOUSANDS SEPARATOR}": ","})
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")  # such as an Arabic one
# Digits that are read one by one: those with a leading zero, unless a decimal point or a thousands separator is near
# ("0.5", "3.05", "1,005"); and 16 or more, of which Whisper's normaliser may round the last, or fail.
_READ_BY_DIGIT = re.compile(r"(?<![0-9])(?<![0-9][.,])(0[0-9]+|[0-9]{16,})(?![0-9]|[.,][0-9])(%?)")
# The leading zeros of an ordinal, such as "05th": they are not spoken.
_ORDINAL_ZEROS = re.compile(r"(?<![0-9.,])0{1,9}(?=[0-9]{1,9}(?:st|nd|rd|th)\b)")
# Hours on a clock: 0800 is read as "oh eight hundred".
_HOURS = re.compile(rf"\b(?:oh|o|zero) ({'|'.join(_DIGITS[1:])}) hundred\b", re.IGNORECASE)

_ONE_AMONG_DIGITS = re.compile(r"\b(?:one|\d)(?: (?:one|\d))+\b")


def basic(text: str) -> str:
    """Converts to lower case and removes punctuation and symbols, except apostrophes inside words.

    Characters that cannot be seen make no difference. Scripts without spaces between words have every character as a
    word, so that their word error rate is a character error rate. The marks of Arabic and Hebrew vowels, which few
    writers set, are removed.

    >>> basic("Don't re-enter: it\N{RIGHT SINGLE QUOTATION MARK}s 5 o'clock!")
    "don't re enter it's 5 o'clock"
    """
    text = _compatible(text).lower()
    if not text.isascii():
        text = _WITHOUT_SPACES.sub(r" \g<0> ", _VOWEL_MARKS.sub("", text))
    kept = (c if c == "'" or unicodedata.category(c)[0] not in "PS" else " " for c in text)
    words = (word.strip("'") for word in "".join(kept).split())
    return " ".join(word for word in words if word)


def english(text: str) -> str:
    """Applies Whisper's English normaliser, and splits numbers into single digits.

    The kind of apostrophe makes no difference, nor do characters that cannot be seen, ellipses, and in which script
    digits are written. Digits with a leading zero are kept, as they are spoken.

    >>> english("It's colour 42, Mr. Smith")
    'it is color 4 2 mister smith'
    >>> english("call 0161") == english("call oh one six one")
    True
    """
    text = _compatible(text).translate(_ARABIC_SEPARATORS)
    text = _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), _ELLIPSIS.sub(" ", text))
    text = _without_brackets(" ".join(text.split()))
    text = _READ_BY_DIGIT.sub(_spoken_digits, _ORDINAL_ZEROS.sub("", text))
    text = _HOURS.sub(r"zero \1 zero zero", text)
    try:
        normalised: str = _whisper()(" ".join(text.split()))
    except (AssertionError, ValueError):  # numbers that it cannot convert
        normalised = basic(text)
    digits = " ".join(re.sub(r"(?<=\d)(?=\d)", " ", normalised).split())
    # Whisper's normaliser writes a single 1 as "one", also among other digits.
    return _ONE_AMONG_DIGITS.sub(lambda found: found[0].replace("one", "1"), digits)


def _compatible(text: str) -> str:
    """A text in the Unicode form NFKC, with one kind of apostrophe and without invisible characters."""
    visible = text.translate(_APOSTROPHES).translate(_INVISIBLE)
    return unicodedata.normalize("NFKC", _FRACTION.sub(r" \g<0> ", visible))


def _spoken_digits(found: re.Match[str]) -> str:
    return f" {' '.join(_DIGITS[int(digit)] for digit in found[1])}{' percent' if found[2] else ''} "


def _without_brackets(text: str) -> str:
    """Removes what is in brackets as Whisper's normaliser does, in time linear in the length of the text.

    Its patterns search the rest of the text again for each bracket that is not closed.
    """
    for opening, closing, pattern in (("<[", ">]", r"[<\[][^>\]]*[>\]]"), ("(", ")", r"\([^)]+?\)")):
        end = max(map(text.rfind, closing)) + 1
        unclosed = text[end:].translate(str.maketrans(opening, " " * len(opening)))
        text = re.sub(pattern, "", text[:end]) + unclosed
    return text


@cache
def _whisper() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


NORMALISERS: Mapping[str, Normaliser] = {"english": english, "basic": basic}
"""The normalisers by name."""


def normalisers(language: str) -> dict[str, Normaliser]:
    """The normalisers for texts in a language, a code of ISO 639; all but "basic" are for one language."""
    return {name: one for name, one in NORMALISERS.items() if name != "english" or language == DEFAULT_LANGUAGE}


@dataclass(frozen=True)
class ErrorRates:
    """WER and CER as fractions; above 1 if hypotheses are much longer than references."""

    wer: float
    cer: float


@dataclass(frozen=True)
class Alignment:
    """Normalised references and hypotheses, aligned once by jiwer; all error rates derive from this alignment.

    The i-th hypothesis belongs to the i-th reference. An empty hypothesis counts as the deletion of all words.
    """

    references: Sequence[str]
    hypotheses: Sequence[str]

    @cached_property
    def word_counts(self) -> NDArray[np.int64]:
        """(utterances, 2): word errors (substitutions, deletions, insertions) and reference words of each pair."""
        return _counts(self._words)

    @cached_property
    def character_counts(self) -> NDArray[np.int64]:
        """(utterances, 2): as `word_counts`, but of characters, including spaces between words."""
        import jiwer

        return _counts(jiwer.process_characters(list(self.references), list(self.hypotheses)))

    def rates(self, chosen: Sequence[int] | None = None) -> ErrorRates:
        """WER and CER over all pairs, or over the pairs with the indices `chosen`.

        If no reference has a word, the rates are 0 if no hypothesis has one either, and 1 otherwise.
        """
        rows = slice(None) if chosen is None else list(chosen)  # NumPy takes a tuple for an index of each axis
        word_errors, words = self.word_counts[rows].sum(axis=0).tolist()
        if not words:
            rate = 1.0 if word_errors else 0.0
            return ErrorRates(rate, rate)
        character_errors, characters = self.character_counts[rows].sum(axis=0).tolist()
        return ErrorRates(word_errors / words, character_errors / characters)

    def table(self, index: int, width: int = 100) -> str:
        """Formats one aligned pair in three lines: REF, HYP, and the error types S, D or I.

        Args:
            index: the index of the pair.
            width: maximal line length; longer alignments continue in another group of three lines.
        """
        reference, hypothesis = self._words.references[index], self._words.hypotheses[index]
        groups: list[list[list[str]]] = []
        used = width
        for chunk in self._words.alignments[index]:
            expected = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            found = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            mark = {"substitute": "S", "delete": "D", "insert": "I", "equal": ""}[chunk.type]
            for above, below in zip_longest(expected, found, fillvalue=""):
                size = max(len(above), len(below))
                if used + size + 1 > width:
                    groups.append([["REF:"], ["HYP:"], ["    "]])
                    used = len("REF:")
                used += size + 1
                for row, word in zip(groups[-1], (above or "*" * size, below or "*" * size, mark), strict=True):
                    row.append(word.ljust(size))
        return "\n".join(" ".join(row).rstrip() for group in groups for row in group)

    @cached_property
    def _words(self) -> Any:
        import jiwer

        return jiwer.process_words(list(self.references), list(self.hypotheses))


def align(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> Alignment:
    """Normalises and aligns; the i-th hypothesis belongs to the i-th reference.

    Raises:
        BadInputError: the numbers of references and hypotheses differ, or they are one text instead of a list.
    """
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise BadInputError("the references or the hypotheses are one text; expected a list of texts for each")
    if len(references) != len(hypotheses):
        raise BadInputError(
            f"{counted(len(references), 'reference')} and "
            f"{counted(len(hypotheses), 'hypothesis', 'hypotheses')}; expected as many of both"
        )
    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    return Alignment([r for r, _ in pairs], [h for _, h in pairs])


def align_all(
    references: Sequence[str], hypotheses: Sequence[str], language: str = DEFAULT_LANGUAGE
) -> dict[str, Alignment]:
    """Aligns with each normaliser of the language; returns the alignments by normaliser name."""
    return {name: align(references, hypotheses, normalise) for name, normalise in normalisers(language).items()}


def error_rates(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> ErrorRates:
    """WER and CER over all pairs (`Alignment.rates`)."""
    return align(references, hypotheses, normalise).rates()


def error_counts(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> NDArray[np.int64]:
    """(utterances, 2): word errors and reference words of each pair (`Alignment.word_counts`).

    The sum of the errors divided by the sum of the words is the WER of `error_rates`.
    """
    return align(references, hypotheses, normalise).word_counts


def _counts(output: Any) -> NDArray[np.int64]:
    """Token errors and reference tokens of each pair in the output of jiwer."""
    rows = [
        (
            sum(
                max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                for chunk in chunks
                if chunk.type != "equal"
            ),
            len(reference),
        )
        for reference, chunks in zip(output.references, output.alignments, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, 2)
