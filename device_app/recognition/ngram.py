"""Word n-gram language models, read from ARPA files as SRILM, KenLM's lmplz and others write them.

Meant for models of up to a few megabytes, as the whole file is held in memory. (KenLM has no
wheels, and pyctcdecode does not support current numpy; this module implements the part of both that we need.)
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

from editing.errors import BadInputError, one_line

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
UNSEEN = -5.0  # log10 probability of an unknown word if the model has no <unk>; not measured
LN_10 = math.log(10.0)  # from the base 10 of ARPA files to nats
MAX_LINE_LENGTH = 1 << 16  # characters
MAX_CHARACTERS = 1 << 28  # of a decompressed ARPA file, which takes several times as much memory

NGramWords = tuple[str, ...]


@dataclass(frozen=True)
class NGram:
    """A back-off n-gram model.

    Attributes:
        order: the largest n.
        probabilities: log10 probability of each n-gram.
        backoffs: log10 back-off weight of each context.
    """

    order: int
    probabilities: dict[NGramWords, float]
    backoffs: dict[NGramWords, float]

    @classmethod
    def read(cls, path: str | Path) -> NGram:
        """Reads an ARPA file, plain or gzip.

        Raises:
            BadInputError: it cannot be read or is not an ARPA file; the message names the line.
        """
        path = Path(path)
        probabilities: dict[NGramWords, float] = {}
        backoffs: dict[NGramWords, float] = {}
        n = 0  # of the section that is read
        has_end = False
        number = size = 0  # lines and characters that were read
        try:
            with (
                gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file
            ):
                lines = iter(lambda: file.readline(MAX_LINE_LENGTH), "")  # limited: gzip may expand a thousandfold
                for number, line in enumerate(lines, 1):  # noqa: B007 (the error names it)
                    size += len(line)
                    if len(line) == MAX_LINE_LENGTH or size > MAX_CHARACTERS:
                        raise ValueError(
                            f"more than {MAX_LINE_LENGTH} characters in a line, or {MAX_CHARACTERS} in total"
                        )
                    text = line.strip()
                    if text.startswith("\\") and text.endswith("-grams:"):
                        n = int(text[1:].partition("-")[0])
                    elif text == "\\end\\":
                        has_end = True
                        break
                    elif n and text:
                        fields = text.split()
                        words = tuple(fields[1 : n + 1])
                        if len(words) != n or len(fields) > n + 2:
                            raise ValueError(f"{len(fields)} fields")
                        probabilities[words] = _finite(fields[0])
                        if len(fields) == n + 2:
                            backoffs[words] = _finite(fields[-1])
        except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path}: not an ARPA file that can be read ({one_line(str(error))})") from error
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            raise BadInputError(
                f"{path}, line {number}: not an ARPA file that can be read ({one_line(str(error))})"
            ) from error
        if not probabilities:
            raise BadInputError(f"{path}: not an ARPA file: it has no n-grams")
        if not has_end:
            raise BadInputError(f"{path}: is cut off: the line \\end\\ is missing")
        return cls(max(map(len, probabilities)), probabilities, backoffs)

    def log_probability(self, history: NGramWords, word: str) -> float:
        """Natural logarithm of a word's conditional probability, with back-off (Katz 1987).

        log p(w | h) is the listed value of the n-gram (h, w), or else the back-off weight of h plus log p(w | h without
        its first word). A `word` that the model does not know counts as `UNKNOWN`; words of `history` do not.

        Args:
            history: the words before it, beginning with `BEGIN` at the start of a sentence; those that the order
                does not reach are ignored.
            word: the word.
        """
        known = word if (word,) in self.probabilities else UNKNOWN
        context = history[max(0, len(history) - self.order + 1) :] if self.order > 1 else ()
        total = 0.0
        while True:
            probability = self.probabilities.get((*context, known))
            if probability is not None:
                return LN_10 * (total + probability)
            if not context:
                return LN_10 * (total + UNSEEN)
            total += self.backoffs.get(context, 0.0)
            context = context[1:]


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is not a number")
    return number
