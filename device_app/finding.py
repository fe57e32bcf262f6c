"""Findings of an examination of the store or of the models, and their repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """A fault, or a notice.

    Attributes:
        kind: the kind of the affected items, in the plural.
        line: which item it is, and details, in one line.
        remedy: what `repair` does; without `repair`, what the user can do.
        repair: repairs the fault. It examines again first, and changes nothing if the fault is gone. It
            raises an AsrEdgeError if it cannot repair it.
        is_fault: whether this is a fault; a notice never has a `repair`.
    """

    kind: str
    line: str
    remedy: str
    repair: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    is_fault: bool = True


def repair_all(findings: Iterable[Finding]) -> None:
    """Repairs each finding that can be repaired."""
    for finding in findings:
        if finding.repair is not None:
            finding.repair()
