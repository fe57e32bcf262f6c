"""What an examination of the store or of the models found, and how to repair it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that is worth knowing.

    Attributes:
        kind: of what, in the plural.
        line: what exactly; one line.
        remedy: what `mend` does; where there is no `mend`, what a person can do.
        mend: changes it. It looks again first, and leaves alone what is right by now. It raises an
            AsrEdgeError where it cannot.
        is_fault: whether something is wrong; what is only worth knowing never has a `mend`.
    """

    kind: str
    line: str
    remedy: str
    mend: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    is_fault: bool = True
