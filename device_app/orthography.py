"""Case and punctuation: whether labels are written as the model writes, and how to make them so.

Labels in lower case without punctuation would teach the model that typography for all speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from device_app.scoring import basic

MARKS = ",;:?!"
SENTENCE_END = ".?!"


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


def differs(labels: Sequence[str], heard: Sequence[str]) -> bool:
    """Whether labels lack the capitals or the marks that the model writes."""
    ours, models = Typography.of(labels), Typography.of(heard)
    return ours.capitals < models.capitals / 3 or ours.marks < models.marks / 3


def as_the_model_writes(label: str, heard: str) -> str:
    """The label's words in the case and with the marks of what the model heard.

    Words that the model heard too are taken as it wrote them. Where it heard something else, the
    label's word gets the marks of the word in its place. The text begins with a capital and ends
    with a mark if the model's does.
    """
    words, models = label.split(), heard.split()
    if not words or not models:
        return label
    said, thought = [basic(word) for word in words], [basic(word) for word in models]
    written = list(words)
    for kind, first, last, start, end in SequenceMatcher(None, said, thought, autojunk=False).get_opcodes():
        if kind == "equal":
            written[first:last] = map(_written, words[first:last], models[start:end])
            if last < len(words) and end == len(models):  # the model's end is not the label's
                written[last - 1] = written[last - 1].rstrip(SENTENCE_END)
        elif kind == "replace":
            others = models[start:end]
            for place in range(first, min(last, first + len(others)) - 1):
                written[place] = _marked(words[place], others[place - first])
            written[last - 1] = _marked(words[last - 1], others[-1])
    if not models[0][:1].islower():  # a figure, too, begins a sentence
        written[0] = written[0][:1].upper() + written[0][1:]
    if models[-1][-1] in SENTENCE_END and written[-1][-1].isalnum():
        written[-1] += models[-1][-1]
    return " ".join(written)


def _written(word: str, model: str) -> str:
    """The same word as the model wrote it, unless the label has a capital or a mark of its own."""
    return model if word.islower() and word[-1].isalnum() else word


def _marked(word: str, model: str) -> str:
    """The word with the mark after the model's word; a full stop may be an abbreviation's, and stays away."""
    return word + model[-1] if model[-1] in MARKS and word[-1].isalnum() else word
