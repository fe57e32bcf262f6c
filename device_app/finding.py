"""Findings of an examination of the store or of the models, and their repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """A fault, or a notice.

    Attributes:
        kind: of the affected items, in the plural.
        line: details, one line.
        remedy: what `mend` does; without `mend`, what the user can do.
        mend: repairs the fault. It examines again first, and changes nothing if the fault is gone. It
            raises an AsrEdgeError if it cannot repair it.
        is_fault: whether this is a fault; a notice never has a `mend`.
    """

    kind: str
    line: str
    remedy: str
    mend: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    is_fault: bool = True


def mend_all(findings: Iterable[Finding]) -> None:
    """Repairs each finding that can be repaired."""
    for finding in findings:
        if finding.mend is not None:
            finding.mend()
