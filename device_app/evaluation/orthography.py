"""Case and punctuation: whether labels are written as the model writes, and how to make them so.

Labels in lower case without punctuation would teach the model that typography for all speech.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from device_app.evaluation.error_rates import basic

MARKS = ",;:?!"  # within a text; a full stop there may be an abbreviation's
SENTENCE_END = ".?!"
QUOTE = '"'


@dataclass(frozen=True)
class Typography:
    """How texts are written: shares of words that have a capital, and that carry a mark."""

    capitals: float
    marks: float

    @classmethod
    def of(cls, texts: Sequence[str]) -> Typography:
        words = [word for text in texts for word in text.split()]
        count = max(1, len(words))
        return cls(
            capitals=sum(any(c.isupper() for c in word) for word in words) / count,
            marks=sum(not word[-1].isalnum() for word in words) / count,
        )

    def __str__(self) -> str:
        return f"{self.capitals:.0%} of words with a capital, {self.marks:.0%} with a mark"


def differs(labels: Sequence[str], hypotheses: Sequence[str]) -> bool:
    """Whether labels lack the capitals or the marks that the model writes."""
    ours, models = Typography.of(labels), Typography.of(hypotheses)
    return ours.capitals < models.capitals / 3 or ours.marks < models.marks / 3


def as_the_model_writes(labels: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """The labels' words, with the case and the marks that the model would give them.

    Words that the model recognised are taken as it wrote them. What it wrote beside a word that it got
    wrong says little of the label, so that word gets the mark that most of its words have, mostly none. An
    utterance that it got wrong begins and ends as most do: a recogniser that is unsure leaves its
    sentence open, and would learn to stop so.

    Args:
        labels, hypotheses: what was said in each utterance, and the model's hypothesis for it.
    """
    habit = _Habit.of([text.split() for text in hypotheses])
    return [_restyled(*pair, habit) for pair in zip(labels, hypotheses, strict=True)]


@dataclass(frozen=True)
class _Habit:
    """How a model mostly writes: whether texts begin with a capital, what follows a word and what ends a text."""

    capital: bool
    mark: str
    end: str

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> _Habit:
        texts = [words for words in texts if words]
        marks = Counter(word[-1] if word[-1] in MARKS else "" for words in texts for word in words[:-1])
        ends = Counter(words[-1][-1] if words[-1][-1] in SENTENCE_END else "" for words in texts)
        return cls(
            capital=sum(not words[0][0].islower() for words in texts) > len(texts) / 2,
            mark=marks.most_common(1)[0][0] if marks else "",
            end=ends.most_common(1)[0][0] if ends else "",
        )


def _restyled(label: str, hypothesis: str, habit: _Habit) -> str:
    words, models = label.split(), hypothesis.split()
    if not words:
        return label
    said, thought = [basic(word) for word in words], [basic(word) for word in models]
    if said == thought:
        return " ".join(map(_written, words, models))
    written = [_marked(word, habit.mark) for word in words[:-1]] + words[-1:]
    for kind, first, last, start, end in SequenceMatcher(None, said, thought, autojunk=False).get_opcodes():
        if kind == "equal":
            written[first:last] = map(_written, words[first:last], models[start:end])
            alone = _written(words[last - 1], models[end - 1].rstrip(MARKS + SENTENCE_END + QUOTE))
            written[last - 1] = _marked(alone, habit.mark) if last < len(words) else alone
        elif kind == "replace" and last < len(words) and end < len(models):  # they go on with the same word
            models_mark = models[end - 1][-1]
            written[last - 1] = _marked(words[last - 1], models_mark if models_mark in MARKS else habit.mark)
    if not models[0][0].islower() if models else habit.capital:  # a figure, too, begins a sentence
        written[0] = written[0][:1].upper() + written[0][1:]
    if written[-1][-1].isalnum():
        written[-1] += models[-1][-1] if models and models[-1][-1] in SENTENCE_END else habit.end
    return " ".join(written)


def _written(word: str, model: str) -> str:
    """The same word as the model wrote it, unless the label has a capital or a mark of its own."""
    return model if word.islower() and word[-1].isalnum() else word


def _marked(word: str, mark: str) -> str:
    """The word with a mark, if it has none."""
    return word + mark if word[-1].isalnum() else word
