"""Ranges of numeric settings. A value outside is refused with the name of the setting and its range."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin

from editing.errors import BadInputError, one_line


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have.

    Attributes:
        least: the smallest value.
        most: the largest value.
        is_whole: only whole numbers.
        excludes_least: only values above `least`.
        excludes_most: only values below `most`.
    """

    least: float
    most: float
    is_whole: bool = False
    excludes_least: bool = False
    excludes_most: bool = False

    @property
    def expected(self) -> str:
        """The range in words: "a number from 0 to 1"."""
        kind = "a whole number" if self.is_whole else "a number"
        least, most = (f"{limit:.12g}" for limit in (self.least, self.most))
        if not self.excludes_least and not self.excludes_most:
            return f"{kind} from {least} to {most}"
        above = f"above {least}" if self.excludes_least else f"of at least {least}"
        below = f"below {most}" if self.excludes_most else f"at most {most}"
        return f"{kind} {above} and {below}"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.is_whole else Real):
            return False
        number: Any = value  # type checkers do not know that `numbers` can be compared
        if not self.least <= number <= self.most:  # also if it is NaN
            return False
        return not (self.excludes_least and number == self.least) and not (self.excludes_most and number == self.most)

    def check(self, name: str, value: object) -> None:
        """Checks a value.

        Args:
            name: the name of the setting.
            value: as the caller gave it.

        Raises:
            BadInputError: the value is not a number in the range.
        """
        if value not in self:
            raise BadInputError(f"{name} is {one_line(repr(value), 60)}; expected {self.expected}")


def range_of(hint: object) -> Range | None:
    """The range with which a type is annotated; None if there is none."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((one for one in extras if isinstance(one, Range)), None)
