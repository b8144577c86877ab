"""Free ports of loopback."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable
from pathlib import Path

from rollover.errors import Unreachable

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000
_FIRST_EPHEMERAL = 32_768
"""Linux's default, where the system does not tell."""
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 1000

FindPorts = Callable[[int], tuple[int, ...]]
"""Returns as many different free ports as it is asked for."""


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports that nobody listens on now.

    They lie below those that the system gives to dialers: otherwise a reconnecting client could
    be given the port of the stopped server that it is dialling. Nothing keeps them free: whoever
    starts a server on one must be ready for another process to have taken it.
    """
    highest = _first_ephemeral() - 1
    found: set[int] = set()
    with contextlib.ExitStack() as held:
        for _ in range(_ATTEMPTS):
            if len(found) == count:
                return tuple(sorted(found))
            candidate = random.randint(_LOWEST, highest)  # noqa: S311 - no secret
            if candidate not in found and _bind(candidate, held):
                found.add(candidate)
    raise Unreachable(
        f"found {len(found)} free ports between {_LOWEST} and {highest}, need {count}",
        system="loopback",
        operation="find ports",
        hint="end other labs on this machine",
    )


def _bind(port: int, held: contextlib.ExitStack) -> bool:
    probe = held.enter_context(socket.socket())
    try:
        probe.bind((LOOPBACK, port))
    except OSError:
        return False
    return True


def _first_ephemeral() -> int:
    try:
        first = int(_RANGE.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _FIRST_EPHEMERAL
    return first if first > 2 * _LOWEST else _FIRST_EPHEMERAL
