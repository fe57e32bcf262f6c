"""Wording of errors in options and arguments: typer quotes messages of pydantic, which name its internals."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

REWORDED = (
    (r"^Value error, ", ""),
    (r"^Input should be a valid integer\b.*", "expected a whole number"),
    (r"^Input should be a valid number\b.*", "expected a number"),
    (r"^Input should be a finite number", "expected a finite number"),
    (r"^Input should be greater than or equal to ", "expected at least "),
    (r"^Input should be less than or equal to ", "expected at most "),
    (r"^Input should be greater than ", "expected more than "),
    (r"^Input should be less than ", "expected less than "),
    (r"^Input should be a valid string\b.*", "expected a text"),
    (r"^Input should be ", "expected "),
)


def reworded(message: str) -> str:
    """The message without the names of typer's and pydantic's internals."""
    for pattern, replacement in REWORDED:
        message = re.sub(pattern, replacement, message)
    return message


class PlainErrors(TyperGroup):
    """The root command, with reworded errors of all commands."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*arguments, **settings)
        except typer.BadParameter as error:
            error.message = reworded(error.message)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = reworded(error.message)
            raise
