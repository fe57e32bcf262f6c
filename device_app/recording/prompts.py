"""Sentences to read aloud, built-in or from a file, ordered by expected difficulty for the recogniser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from device_app.data.names import checked_text, one_spaced
from device_app.data.text_files import read_text, split_lines
from device_app.evaluation.error_rates import basic
from device_app.paths import ASSETS
from editing.errors import BadInputError
from export.bundle import DEFAULT_LANGUAGE

BUILT_IN = ASSETS / "prompts.txt"  # written for this project: every English sound, everyday words
MAX_BYTES = 64 << 20  # of a file of prompts
PRIOR = 2.0  # the overall error rate counts as so many occurrences of each word (additive smoothing)


def built_in_prompts(language: str) -> Path:
    """The file with the built-in prompts of a language.

    Raises:
        BadInputError: there are none.
    """
    if language != DEFAULT_LANGUAGE:
        raise BadInputError(
            f"there are no built-in prompts for the language {language!r}: name a file with one sentence per line "
            "(asr-edge record FILE), or speak freely with --free"
        )
    return BUILT_IN


def read_prompts(path: Path = BUILT_IN) -> list[str]:
    """Reads prompts from a text file, one per line; ignores lines without text and duplicates.

    Raises:
        BadInputError: the file cannot be read, is larger than `MAX_BYTES`, is not UTF-8 text, has no prompts, or has a
            line that is not a valid label (see `checked_text`).
    """
    prompts = []
    for number, line in enumerate(split_lines(read_text(path, MAX_BYTES)), 1):
        if one_spaced(line):
            try:
                prompts.append(checked_text(line))
            except BadInputError as error:
                raise BadInputError(f"{path}, line {number}: {error}") from error
    if not prompts:
        raise BadInputError(f"{path}: has no prompts; expected one per line")
    return list(dict.fromkeys(prompts))


def hardest_first(prompts: Sequence[str], history: Iterable[tuple[str, str]]) -> list[str]:
    """Orders prompts by the expected word error rate of this speaker, highest first.

    The error probability of a word is the fraction of its occurrences that were misrecognised so far,
    smoothed towards the overall error rate. Prompts with equal rates keep their order.

    Args:
        prompts: the prompts to order.
        history: reference and hypothesis of each earlier utterance of this speaker.
    """
    spoken, misrecognised = Counter[str](), Counter[str]()
    for text, hypothesis in history:
        _count(basic(text), basic(hypothesis), spoken, misrecognised)
    overall = misrecognised.total() / max(1, spoken.total())

    def expected_rate(prompt: str) -> float:
        words = basic(prompt).split()
        expected_errors = sum((misrecognised[word] + PRIOR * overall) / (spoken[word] + PRIOR) for word in words)
        return expected_errors / max(1, len(words))

    return sorted(prompts, key=expected_rate, reverse=True)


def _count(text: str, hypothesis: str, spoken: Counter[str], misrecognised: Counter[str]) -> None:
    """Adds the words of a reference to `spoken`, and the substituted and deleted ones to `misrecognised`."""
    import jiwer

    if not text:
        return
    output = jiwer.process_words([text], [hypothesis])
    words = output.references[0]
    spoken.update(words)
    for chunk in output.alignments[0]:
        if chunk.type != "equal":
            misrecognised.update(words[chunk.ref_start_idx : chunk.ref_end_idx])
