"""The user's settings file: defaults for the options of commands."""

from __future__ import annotations

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
        return tomllib.loads(read_bounded(path, MAX_BYTES).decode("utf-8-sig"))  # editors of Windows write a BOM
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (JSONTextError, ValueError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError too
        raise BadInputError(
            f"{path}: not a settings file that can be read ({one_line(str(error))}); correct or remove it"
        ) from error
