"""The user's settings file: defaults for the options of commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from device_app.paths import data_folder
from editing.errors import BadInputError, one_line
from editing.json_text import JSONTextError, read_bounded

NAME = "settings.toml"
MAX_BYTES = 1 << 20


def settings_file() -> Path:
    """The path of the settings file of this profile; it need not exist."""
    return data_folder() / NAME


def read_settings() -> dict[str, Any]:
    """Reads the settings file: a table for each command, with the long names of options; empty without a file.

    Raises:
        BadInputError: it cannot be read or is not TOML.
    """
    path = settings_file()
    if not path.exists():
        return {}
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")  # editors of Windows write a BOM
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (JSONTextError, ValueError) as error:  # UnicodeDecodeError too
        raise BadInputError(_unreadable(path, error, "correct or remove it")) from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError too
        raise BadInputError(_unreadable(path, error, _remedy(text, error))) from error


def _unreadable(path: Path, error: Exception, remedy: str) -> str:
    return f"{path}: not a settings file that can be read ({one_line(str(error))}); {remedy}"


def _remedy(text: str, error: Exception) -> str:
    """What to do about a file that is not TOML: the usual mistake is a text without quotation marks."""
    place = re.search(r"at line (\d+)", str(error))
    line = text.split("\n")[int(place[1]) - 1] if place else ""
    unquoted = re.fullmatch(r"\s*([\w-]+)\s*=\s*([^\"'\[\]{}#]+)(?:#.*)?\s*", line)
    name, value = (unquoted[1], unquoted[2].strip()) if unquoted else ("", "")
    if not any(character.isalpha() for character in value):
        return "correct or remove it"
    if value.lower() in ("true", "false"):
        return f"write it in small letters: {name} = {value.lower()}"
    return f'put texts in quotation marks: {name} = "{one_line(value)}"'
