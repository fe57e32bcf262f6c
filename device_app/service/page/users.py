"""Which user of this machine holds the other end of a connection through the loopback interface.

Every user can connect to it, and recordings are for one. Linux only: elsewhere, and where the kernel's table cannot be
read, nothing is known of the user.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

TABLES = {"tcp": Path("/proc/net/tcp"), "tcp6": Path("/proc/net/tcp6")}
ESTABLISHED = "01"
LISTENING = "0A"
ROOT = 0  # may read all files anyway; forwards ports of containers and virtual machines

Address = tuple[str, int]


def is_other_user(client: Address, server: Address) -> bool:
    """Whether another user than that of this process (or root) holds the client's end of a TCP connection.

    A client that has closed its end is taken for another user, because the kernel then forgets whose it was.

    Args:
        client: numerical address and port of the client's end, on this machine.
        server: those of this process.

    Returns:
        False where that is not known.
    """
    ends = [(_plain(host), port) for host, port in (client, server)]
    knows_server = False
    for local, remote, state, user in _connections():
        if [local, remote] == ends:
            return state != ESTABLISHED or user not in (os.getuid(), ROOT)
        knows_server = knows_server or (state == LISTENING and local[1] == server[1])
    return knows_server


def _connections() -> Iterator[tuple[Address, Address, str, int]]:
    """Local and remote address, state, and user id, of each TCP socket of the machine; none if they are not known."""
    for path in TABLES.values():
        try:
            lines = path.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # The columns: number, local and remote address, state, queues, timer, timeouts, user id, and more.
            fields = line.split()
            yield _address(fields[1]), _address(fields[2]), fields[3], int(fields[7])


def _address(text: str) -> Address:
    """An address of the kernel's table: hexadecimal words of 32 bits, in the machine's byte order, then the port."""
    words, _, port = text.partition(":")
    packed = b"".join(int(words[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(words), 8))
    return _plain(str(ip_address(packed))), int(port, 16)


def _plain(host: str) -> str:
    """A numerical address in its usual form; of an IPv4 address in an IPv6 socket, the IPv4 address."""
    address = ip_address(host)
    return str(getattr(address, "ipv4_mapped", None) or address)
