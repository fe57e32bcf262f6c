"""systemd: sockets that it has opened, messages to it, and the units of the service."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from device_app.paths import HOME_VARIABLE, PROFILE_VARIABLE, active_profile, main_folder
from editing.errors import BadInputError, StorageError
from editing.files import write_atomically

FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
HTTP, WYOMING = "http", "wyoming"  # the names of the sockets, FileDescriptorName in their units

SERVICE = """\
[Unit]
Description=asr-edge: speech recognition for the programs of this machine
Requires=asr-edge.socket asr-edge-wyoming.socket
After=asr-edge.socket asr-edge-wyoming.socket

[Service]
Type=notify
{environment}ExecStart={command}
Restart=on-failure
TimeoutStopSec=45
NoNewPrivileges=yes
UMask=0077
"""

SOCKET = """\
[Unit]
Description=asr-edge: {name}

[Socket]
ListenStream=127.0.0.1:{port}
FileDescriptorName={name}
Service=asr-edge.service

[Install]
WantedBy=sockets.target
"""


def inherited_sockets() -> dict[str, list[socket.socket]]:
    """The listening sockets that systemd has opened for this process, by name; empty if there are none.

    Removes the variables that describe them, so that no child process takes the sockets for its own.

    Raises:
        BadInputError: one of them is not a socket of IPv4 or IPv6, or has another name.
    """
    found: dict[str, list[socket.socket]] = {}
    process, count, names = (os.environ.pop(name, "") for name in VARIABLES)
    if process != str(os.getpid()) or not count.isdigit():
        return found
    for index, name in enumerate(names.split(":")[: int(count)]):
        inherited = socket.socket(fileno=FIRST_DESCRIPTOR + index)
        inherited.set_inheritable(False)
        if inherited.family not in (socket.AF_INET, socket.AF_INET6) or name not in (HTTP, WYOMING):
            raise BadInputError(
                f"systemd passes a socket {name!r}; expected {HTTP} and {WYOMING} with addresses of IPv4 or IPv6"
            )
        found.setdefault(name, []).append(inherited)
    return found


def notify(state: str) -> None:
    """Tells systemd a state such as READY=1, if it has started this process; sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


def own_environment() -> dict[str, str]:
    """The variables that choose the data folder and the profile of this process.

    systemd gives a service none of the shell's, such as XDG_DATA_HOME; so the data folder is always named.
    """
    profile = active_profile()
    return {HOME_VARIABLE: str(main_folder().absolute()), **({PROFILE_VARIABLE: profile} if profile else {})}


def units(
    command: Sequence[str], http_port: int, wyoming_port: int, environment: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """The units of the service, by the name of their file.

    Args:
        command: the program and its arguments.
        http_port, wyoming_port: the ports on loopback.
        environment: variables of the service; systemd gives it none of the shell's.
    """
    variables = (f"Environment={_quoted(f'{name}={value}')}\n" for name, value in (environment or {}).items())
    words = (_quoted(word).replace("$", "$$") for word in command)  # ExecStart would insert variables
    return {
        "asr-edge.service": SERVICE.format(environment="".join(variables), command=" ".join(words)),
        "asr-edge.socket": SOCKET.format(name=HTTP, port=http_port),
        "asr-edge-wyoming.socket": SOCKET.format(name=WYOMING, port=wyoming_port),
    }


def install_units(unit_files: Mapping[str, str], *, overwrite: bool = False) -> Path:
    """Writes units into the user's folder of systemd; returns it.

    Args:
        unit_files: the units, by the name of their file.
        overwrite: whether units of another content may be replaced.

    Raises:
        BadInputError: there are units of another content, which may be replaced only with `overwrite`.
        StorageError: the folder cannot be read or written.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = config / "systemd" / "user"
    for name, text in unit_files.items():
        if not overwrite and not _is_absent_or(folder / name, os.fsencode(text)):
            raise BadInputError(
                f"{folder / name}: exists with other content, of another profile, port or installation, or edited; "
                "nothing was changed. Replace the units with --overwrite"
            )
    for name, text in unit_files.items():
        write_atomically(folder / name, os.fsencode(text))
    return folder


def _is_absent_or(path: Path, content: bytes) -> bool:
    """Whether a file does not exist, or has this content."""
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); nothing was changed") from error


def _quoted(word: str) -> str:
    """A word of a unit; systemd would expand %, read \\ as an escape, and end the setting at a line break."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'
