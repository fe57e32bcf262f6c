"""Compares the case and punctuation of labels with those of the model, and adapts the labels.

A model that is fine-tuned on labels in lower case without punctuation writes all speech like that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from device_app.evaluation.error_rates import basic

MIN_CHANGE = 0.02  # of all words; a smaller change of style is not mentioned
# Labels with less than a third of the model's capitals or marks are taken to lack them by convention: labels in the
# model's style come close to its shares, and labels without capitals or marks have almost none.
LACKING = 1 / 3
# Marks within a text, Arabic and East Asian ones too; without the full stop, which may belong to an abbreviation.
MARKS = ",;:?!\u060c\u061b\u061f\u3001\uff0c\uff1f\uff01"
SENTENCE_END = ".?!\u061f\u06d4\u0964\u3002\uff1f\uff01"
QUOTE = '"'


@dataclass(frozen=True)
class Typography:
    """Case and punctuation of texts: the fractions of words with a capital and with a punctuation mark."""

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
        return f"{self.capitals:.0%} of words with a capital, {self.marks:.0%} with a punctuation mark"


def style_change(before: Typography, after: Typography) -> str | None:
    """What a model writes differently, as a part of a sentence; None for less than `MIN_CHANGE`."""
    changes = []
    for noun, old, new in (
        ("capitals", before.capitals, after.capitals),
        ("punctuation marks", before.marks, after.marks),
    ):
        if abs(new - old) >= MIN_CHANGE:
            changes.append(f"{'more' if new > old else 'fewer'} {noun} than before")
    return f"writes {' and '.join(changes)}" if changes else None


def differs_in_style(labels: Sequence[str], hypotheses: Sequence[str]) -> bool:
    """Whether labels lack capitals or punctuation marks that the model writes."""
    ours, models = Typography.of(labels), Typography.of(hypotheses)
    return ours.capitals < LACKING * models.capitals or ours.marks < LACKING * models.marks


def in_model_style(labels: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """Rewrites labels with the case and punctuation that the model would use; keeps their words.

    A correctly recognised word is written as in the hypothesis. A misrecognised word gets the most
    frequent mark of the hypotheses, usually none, because the punctuation near an error is not
    reliable. A misrecognised utterance begins and ends as most hypotheses do: an uncertain recogniser
    often omits the final full stop, and training on that would reinforce it.

    Args:
        labels, hypotheses: the transcript of each utterance, and the model's hypothesis for it.
    """
    style = _Style.of([text.split() for text in hypotheses])
    return [_restyle(*pair, style) for pair in zip(labels, hypotheses, strict=True)]


@dataclass(frozen=True)
class _Style:
    """The prevalent style of a model: whether texts start with a capital, the mark after a word, the end of a text."""

    starts_with_capital: bool
    mark: str
    end: str

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> _Style:
        texts = [words for words in texts if words]
        marks = Counter(word[-1] if word[-1] in MARKS else "" for words in texts for word in words[:-1])
        ends = Counter(words[-1][-1] if words[-1][-1] in SENTENCE_END else "" for words in texts)
        return cls(
            starts_with_capital=sum(not words[0][0].islower() for words in texts) > len(texts) / 2,
            mark=marks.most_common(1)[0][0] if marks else "",
            end=ends.most_common(1)[0][0] if ends else "",
        )


def _restyle(label: str, hypothesis: str, style: _Style) -> str:
    """One label with the case and punctuation of its hypothesis, and of `style` where words differ."""
    words, models = label.split(), hypothesis.split()
    if not words:
        return label
    label_words, hypothesis_words = [basic(word) for word in words], [basic(word) for word in models]
    if label_words == hypothesis_words:
        return " ".join(map(_as_model_wrote, words, models))
    written = [_with_mark(word, style.mark) for word in words[:-1]] + words[-1:]
    matcher = SequenceMatcher(None, label_words, hypothesis_words, autojunk=False)
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind == "equal":
            written[first:last] = map(_as_model_wrote, words[first:last], models[start:end])
            alone = _as_model_wrote(words[last - 1], models[end - 1].rstrip(MARKS + SENTENCE_END + QUOTE))
            written[last - 1] = _with_mark(alone, style.mark) if last < len(words) else alone
        elif kind == "replace" and last < len(words) and end < len(models):  # both continue with the same word
            models_mark = models[end - 1][-1]
            written[last - 1] = _with_mark(words[last - 1], models_mark if models_mark in MARKS else style.mark)
    # Of the hypothesis, if there is one; a digit also starts a sentence.
    starts_with_capital = not models[0][0].islower() if models else style.starts_with_capital
    if starts_with_capital:
        written[0] = written[0][:1].upper() + written[0][1:]
    if written[-1][-1].isalnum():
        written[-1] += models[-1][-1] if models and models[-1][-1] in SENTENCE_END else style.end
    return " ".join(written)


def _as_model_wrote(word: str, model: str) -> str:
    """The word as in the hypothesis, unless the label itself has a capital or a mark."""
    return model if word.islower() and word[-1].isalnum() else word


def _with_mark(word: str, mark: str) -> str:
    """Appends a mark to a word that has none."""
    return word + mark if word[-1].isalnum() else word
