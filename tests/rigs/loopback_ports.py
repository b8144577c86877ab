"""Ports of loopback that no other process on this machine is given, to start servers on.

A port that was free a moment ago may belong to another test's server, or to any dialler, when a
server is started on it. So each process takes a block of ports that the system gives to nobody,
and that `rollover_lab.machine` does not give to labs; as long as it lives it holds the first.
"""

from __future__ import annotations

import itertools
import secrets
import socket
from collections.abc import Iterator
from functools import cache

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 61_000, 65_535
"""Above those that Linux gives to diallers."""
_BLOCK = 150


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody else is given."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Return so many different ports like that."""
    assert count < _BLOCK
    return tuple(itertools.islice((number for number in _round() if _is_free(number)), count))


@cache
def _round() -> Iterator[int]:
    """Yield the ports of this process, again and again: none is used anew as long as possible."""
    return itertools.cycle(range(_held().getsockname()[1] + 1, _held().getsockname()[1] + _BLOCK))


@cache
def _held() -> socket.socket:
    """Take a block, by its first port."""
    blocks = range(_FIRST, _LAST - _BLOCK, _BLOCK)
    # Not `random`: pytest-randomly gives it the same seed in every process.
    begin = secrets.randbelow(len(blocks))
    for first in (*blocks[begin:], *blocks[:begin]):
        holder = socket.socket()
        try:
            holder.bind((LOOPBACK, first))
        except OSError:
            holder.close()
        else:
            return holder
    raise AssertionError(f"every block of ports from {_FIRST} on is taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that have ended a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
