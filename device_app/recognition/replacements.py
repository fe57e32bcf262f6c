"""Replaces words of a decoded text as the user has listed: "github" by "GitHub", "six one" by "61", "um" by nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from device_app.data.terms import Replacement, normalise_term
from device_app.recognition.results import TranscriptSegment, Word, confidence

OPENING = "\"'([{\u201c\u2018"
CLOSING = "\"')]}\u201d\u2019"
SENTENCE_END = ".?!\u2026"
PAUSES = ",;:-\u2013\u2014"  # punctuation that may stand between the words of a match: "zero, six, one"


@dataclass(frozen=True)
class _Parts:
    """A word without the punctuation before and after it (`core`), and this punctuation."""

    before: str
    core: str
    after: str

    @classmethod
    def of(cls, text: str) -> _Parts:
        rest = text.lstrip(OPENING)
        core = rest.rstrip(CLOSING + SENTENCE_END + PAUSES)
        return cls(text[: len(text) - len(rest)], core, rest[len(core) :])


class Replacer:
    """An ordered list of replacements; each is applied to the result of those before it."""

    def __init__(self, replacements: Iterable[Replacement]) -> None:
        self._rules = [_Rule(replacement) for replacement in replacements]

    def __call__(self, segment: TranscriptSegment) -> TranscriptSegment | None:
        """The segment with its replacements, and its decoded text if that differs; None if no word is left."""
        if not self._rules:
            return segment
        words = segment.words
        for rule in self._rules:
            words = rule.apply(words)
        text = " ".join(word.text for word in words)
        if not text:
            return None
        return segment if text == segment.text else replace(segment, text=text, words=words, raw_text=segment.text)


class _Rule:
    """One replacement."""

    def __init__(self, replacement: Replacement) -> None:
        self._pattern = _cores(replacement.pattern, normalise_term)
        self._new = replacement.text.split()
        self._new_cores = _cores(replacement.text)
        # Positions of the pattern in the new text: replacing "API" by "the API" must not change "the API" into
        # "the the API".
        new, size = _cores(replacement.text, normalise_term), len(self._pattern)
        self._positions_in_new = [i for i in range(len(new) - size + 1) if new[i : i + size] == self._pattern]

    def apply(self, words: Sequence[Word]) -> Sequence[Word]:
        """Returns the words with all matches replaced, from left to right."""
        words, result, index = list(words), list[Word](), 0
        while index < len(words):
            end = index + len(self._pattern)
            if not self._matches(words, index):
                result.append(words[index])
                index += 1
                continue
            match = words[index:end]
            if self._new:
                result += self._new_words(match)
            else:
                _drop(match, result, words, end)
            index = end
        return result

    def _matches(self, words: Sequence[Word], start: int) -> bool:
        """Whether the words from `start` on are the pattern, in one sentence, and not part of the new text already."""
        size = len(self._pattern)
        parts = [_Parts.of(word.text) for word in words[start : start + size]]
        if [normalise_term(one.core) for one in parts] != self._pattern:
            return False
        if any(set(left.after) - set(PAUSES) or right.before for left, right in pairwise(parts)):
            return False
        return not any(self._is_new_text(words, start - position) for position in self._positions_in_new)

    def _is_new_text(self, words: Sequence[Word], start: int) -> bool:
        """Whether the words from `start` on are the new text already."""
        found = words[start : start + len(self._new)] if start >= 0 else []
        return [_Parts.of(word.text).core for word in found] == self._new_cores

    def _new_words(self, match: Sequence[Word]) -> list[Word]:
        """The new words. They share the time of the words that they replace, each by its number of characters."""
        texts = [*self._new]
        texts[0] = _Parts.of(match[0].text).before + texts[0]
        texts[-1] += _Parts.of(match[-1].text).after
        if len(texts) == len(match):
            return [replace(word, text=text) for word, text in zip(match, texts, strict=True)]
        start_s, end_s = match[0].start_s, match[-1].end_s
        total, done, words = sum(map(len, texts)), 0, []
        for text in texts:
            before, done = done, done + len(text)
            times = [start_s + (end_s - start_s) * index / total for index in (before, done)]
            words.append(Word(text, times[0], times[1], confidence(match)))
        return words


def _drop(match: Sequence[Word], before: list[Word], words: list[Word], end: int) -> None:
    """Moves the punctuation of removed words to the words around them, and their initial capital to the next word.

    Args:
        match: the words to remove.
        before: the words before the match; the last one is changed.
        words: all words; the one at `end` is changed.
        end: index in `words` of the word after the match.
    """
    first, last = _Parts.of(match[0].text), _Parts.of(match[-1].text)
    begins_sentence = not before or _ends_sentence(before[-1].text)
    closing = last.after.strip(PAUSES)
    if closing and not begins_sentence:
        before[-1] = replace(before[-1], text=before[-1].text.rstrip(PAUSES) + closing)
    if end < len(words) and not _ends_sentence(last.after):
        text = words[end].text
        if begins_sentence and first.core[:1].isupper():
            text = text[:1].upper() + text[1:]
        words[end] = replace(words[end], text=first.before + text)


def _ends_sentence(text: str) -> bool:
    return text.rstrip(CLOSING).endswith(tuple(SENTENCE_END))


def _cores(text: str, normalise: Callable[[str], str] = str) -> list[str]:
    """The words of a text without their punctuation."""
    return [normalise(_Parts.of(word).core) for word in text.split()]
