"""Sentences to be read aloud: the built-in set or a person's own, hardest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from device_app.data.names import checked_text
from device_app.evaluation.error_rates import basic
from device_app.paths import ASSETS
from editing.errors import BadInputError

BUILT_IN = ASSETS / "prompts.txt"  # written for this project: every English sound, everyday words
PRIOR = 2.0  # how many occurrences of a word the overall rate counts for


def read_prompts(path: Path = BUILT_IN) -> list[str]:
    """The prompts in a text file, one a line; empty lines and repetitions are left out.

    Raises:
        BadInputError: it cannot be read, is not text in UTF-8, has no prompt, or a line that
            cannot be a label (see `checked_text`).
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not text in UTF-8; expected one prompt a line") from error
    prompts = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                prompts.append(checked_text(line))
            except BadInputError as error:
                raise BadInputError(f"{path}, line {number}: {error}") from error
    if not prompts:
        raise BadInputError(f"{path}: has no prompts; expected one a line")
    return list(dict.fromkeys(prompts))


def hardest_first(prompts: Sequence[str], history: Iterable[tuple[str, str]]) -> list[str]:
    """Orders prompts by how many of their words this person is likely to be misheard in.

    A word's probability is the share of its occurrences that were misheard so far, drawn towards
    the share over all words where it occurred seldom. Prompts that are as hard as each other stay
    in their order.

    Args:
        prompts: to be ordered.
        history: what this person said, and what the recogniser made of it.
    """
    said, missed = Counter[str](), Counter[str]()
    for text, hypothesis in history:
        _count(basic(text), basic(hypothesis), said, missed)
    overall = missed.total() / max(1, said.total())

    def hardness(prompt: str) -> float:
        words = basic(prompt).split()
        risk = sum((missed[word] + PRIOR * overall) / (said[word] + PRIOR) for word in words)
        return risk / max(1, len(words))

    return sorted(prompts, key=hardness, reverse=True)


def _count(text: str, hypothesis: str, said: Counter[str], missed: Counter[str]) -> None:
    import jiwer

    if not text:
        return
    output = jiwer.process_words([text], [hypothesis])
    words = output.references[0]
    said.update(words)
    for chunk in output.alignments[0]:
        if chunk.type != "equal":
            missed.update(words[chunk.ref_start_idx : chunk.ref_end_idx])
