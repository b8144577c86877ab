"""Leases in an SQLite file: for the processes of one machine, taken over from dead ones at once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from rollover.engine import journal, leasing
from rollover.engine.ports import Holder, Lease
from rollover.errors import StoreError
from rollover.store.database import Database, open_database

# Which process this is, and whether another one on this machine still lives (Linux /proc).

_PROC = Path("/proc")
_STATE, _START_TIME = 0, 19
"""Fields 3 and 22 of proc_pid_stat(5), counted behind the name in brackets (field 2)."""


class Life(NamedTuple):
    """What the system says of a process number that is in use."""

    started: str
    """Clock ticks from the start of the machine: a number is used again, with this it is not."""
    ended: bool
    """It only waits for its parent to ask for it, and does nothing any more."""


def this_process() -> Holder:
    """Return a new holder for a task of this process: every call makes a distinct one."""
    own = life(os.getpid())
    return Holder(
        host=_host(),
        pid=os.getpid(),
        boot=_boot(),
        started=own.started if own is not None else "",
        task=os.urandom(8).hex(),
    )


def is_known_dead(holder: Holder) -> bool:
    """Say whether the holder's process has certainly ended.

    Certain only for a process of this host, this boot and this process namespace whose number is
    unused or used by a process that began at another time. Without /proc (other systems than
    Linux) only an unused number counts. In doubt the answer is no, and its lease has to run out.
    """
    if holder.host != _host() or holder.boot != _boot():
        return False
    if not _exists(holder.pid):
        return True
    now = life(holder.pid)
    if now is None or not holder.started:
        return False
    return now.ended or now.started != holder.started


def life(pid: int) -> Life | None:
    """Return what /proc says of a process; None when there is none, or no /proc."""
    try:
        status = (_PROC / str(pid) / "stat").read_text("latin-1")
    except OSError:
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = status.rpartition(")")[2].split()
    return Life(fields[_START_TIME], fields[_STATE] in {"Z", "X"})


def _host() -> str:
    # What `socket.gethostname` returns, without its import: `rollover status` must start fast.
    return os.uname().nodename


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """Return the boot of the machine and the process namespace: numbers mean something in it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def open_leases(path: Path, *, dead: Callable[[Holder], bool] = is_known_dead) -> SqliteLeases:
    """Open the leases, made where they are missing; `StoreError` when the file cannot serve.

    `dead` says which holders have certainly ended: theirs are free without waiting.
    """
    database = open_database(path, component="leases", failure=StoreError)
    return SqliteLeases(database, dead=dead)


class SqliteLeases:
    """`Leases` (rollover.engine.ports) in one file."""

    def __init__(self, database: Database, *, dead: Callable[[Holder], bool]) -> None:
        self._database = database
        self._dead = dead

    def acquire(self, name: str, holder: Holder, *, seconds: float, now: datetime) -> Lease:
        """Take the lease, or raise `StaleError` which names who holds it."""
        with self._database.writing() as connection:
            lease = leasing.grant_lease(
                name,
                holder,
                held=_held(connection, name),
                last_token=_last_token(connection, name),
                expires_at=now + timedelta(seconds=seconds),
                now=now,
                dead=self._dead,
            )
            _write(connection, lease)
        return lease

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        """Return the lease with a new expiry, or raise `StaleError` when it was lost."""
        with self._database.writing() as connection:
            held = _held(connection, lease.name)
            if held is None or held.token != lease.token:
                raise leasing.lease_lost(lease, held=held)
            renewed = msgspec.structs.replace(held, expires_at=now + timedelta(seconds=seconds))
            _write(connection, renewed)
        return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; does nothing when somebody else holds it by now."""
        with self._database.writing() as connection:
            # The row stays, for its token: the next holder's must be higher.
            connection.execute(
                "UPDATE leases SET holder = NULL WHERE name = ? AND token = ?",
                (lease.name, lease.token),
            )

    def current(self, name: str) -> Lease | None:
        """Return the lease of the name, None when nobody holds it."""
        with self._database.reading() as connection:
            return _held(connection, name)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _held(connection: sqlite3.Connection, name: str) -> Lease | None:
    row = connection.execute(
        "SELECT holder, token, acquired_at, expires_at FROM leases "
        "WHERE name = ? AND holder IS NOT NULL",
        (name,),
    ).fetchone()
    if row is None:
        return None
    holder, token, acquired_at, expires_at = row
    return Lease(
        name=name,
        holder=_holder(name, holder),
        token=token,
        acquired_at=datetime.fromisoformat(acquired_at),
        expires_at=datetime.fromisoformat(expires_at),
    )


def _holder(name: str, text: str) -> Holder:
    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        raise StoreError(
            f"the lease of `{name}` names its holder in a way that cannot be read",
            hint="use the version of Rollover that wrote it, or put back a backup",
        ) from None


def _last_token(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT token FROM leases WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _write(connection: sqlite3.Connection, lease: Lease) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO leases (name, token, holder, acquired_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            lease.name,
            lease.token,
            msgspec.json.encode(lease.holder).decode(),
            journal.instant_text(lease.acquired_at),
            journal.instant_text(lease.expires_at),
        ),
    )
