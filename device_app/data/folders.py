"""Files in the folders of corpora: names in upper or lower case, links, pipes, and texts beside recordings."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from editing.errors import BadInputError

_NOT_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def not_a_file(path: Path) -> str | None:
    """What a path is if it is no file that can be read more than once; None for files, and where nothing is."""
    try:
        return _NOT_FILES.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 (Path.stat is the same)
    except (OSError, ValueError):  # ValueError: the name has a null byte
        return "a link to a file that is missing" if os.path.islink(path) else None  # noqa: PTH114 (as in manifest.py)


def find_name(folder: Path, name: str) -> Path | None:
    """A file or folder by its name, in upper or lower case: that in exactly this case, or the first by name."""
    if os.path.lexists(folder / name):
        return folder / name
    try:
        same = [one for one in os.listdir(folder) if one.lower() == name.lower()]  # noqa: PTH208 (names are enough)
    except OSError:
        return None
    return folder / min(same) if same else None


def table_in(folder: Path, name: str) -> Path | None:
    """A text file in a folder by its name, in upper or lower case; None if there is none.

    Raises:
        BadInputError: it is a folder, a link to a missing file, a pipe or the like.
    """
    found = find_name(folder, name)
    if found is not None and (reason := not_a_file(found)) is not None:
        raise BadInputError(f"{found}: is {reason}, not a text file; replace or delete it")
    return found


def walk(folder: Path, on_left_out: Callable[[str], None]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walks a folder as `os.walk` does, in the order of names. Links to folders are followed, each folder once.

    Args:
        folder: where to start.
        on_left_out: called with a line for each folder that cannot be read.

    Yields:
        A folder, the names of the folders in it, which the caller may take out, and the names of its files.
    """

    def report(error: OSError) -> None:
        on_left_out(f"{error.filename}: cannot be read ({error.strerror})")

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(parent), folders, sorted(files)


def recordings_of(files: Sequence[str]) -> list[str]:
    """Those of the names of files that are recordings; without AppleDouble files."""
    from device_app.audio.samples import SUFFIXES, is_apple_double  # numpy is slow to import

    return [name for name in files if Path(name).suffix.lower() in SUFFIXES and not is_apple_double(name)]


def texts_beside(parent: Path, folders: Sequence[str], files: Sequence[str]) -> Iterator[tuple[Path, list[Path]]]:
    """The recordings of a folder, each with the entries of the folder that have its name and end in `.txt`.

    Names may be in upper or lower case. If a recording has a text of exactly its name, others are not its texts.

    Args:
        parent: the folder.
        folders, files: the names in it.
    """
    texts = defaultdict(list)
    for name in (*folders, *files):
        if Path(name).suffix.lower() == ".txt":
            texts[Path(name).stem.lower()].append(name)
    recordings = recordings_of(files)
    stems = {Path(name).stem for name in recordings}
    for recording in recordings:
        stem = Path(recording).stem
        same = texts[stem.lower()]
        own = [name for name in same if Path(name).stem == stem]
        others = [name for name in same if Path(name).stem not in stems]
        yield parent / recording, [parent / name for name in own or others]
