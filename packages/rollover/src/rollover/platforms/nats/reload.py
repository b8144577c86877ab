"""Makes a server take its new files: by its system account, by signal, or by a restart.

The system account answers with the server's own error. A signal answers nothing: the proof is
that `config_load_time` moved. Where neither says anything, only the ports can.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from rollover.delivery import bounded_command
from rollover.errors import AdapterError, NotFound, Rejected, TimedOut, Unreachable
from rollover.files import read_start
from rollover.fleet.description import InstanceDescription
from rollover.fleet.fleet import Touch
from rollover.platforms.nats.access import ASK_TIMEOUT_SECONDS, ServerAccess
from rollover.probe import system_account
from rollover.probe.server_views import Varz

POLL_SECONDS = 0.05
SERVER_NAME = "nats"
"""Part of the name of every nats-server's process, unless its `binary` is described."""
_LONGEST_PID = 20
_LONGEST_OUTPUT = 500
"""Characters of what a command said; its end tells why it failed."""
RESTARTING = frozenset((Touch.RESTART, Touch.RECREATE))


class Reload(NamedTuple):
    """How a server took its files. `loaded_at` None: nothing but its ports can prove it."""

    how: str
    seconds: float
    loaded_at: datetime | None


class ReloadSettings(NamedTuple):
    """How the servers of a group are made to take files."""

    touch: Touch
    timeout_seconds: float
    environment: Mapping[str, str]
    """For the operator's own restart command."""


def reload(access: ServerAccess, settings: ReloadSettings) -> Reload:
    """Make the server load its files; return when it says that it has.

    Raises `Rejected` with the server's own words when it keeps what it had, `TimedOut` when the
    proof does not come, and other `AdapterError`s when the server cannot be told.
    """
    started = monotonic()
    how, loaded_at = _take(access, settings)
    return Reload(how, monotonic() - started, loaded_at)


def _take(access: ServerAccess, settings: ReloadSettings) -> tuple[str, datetime | None]:
    instance = access.instance
    if settings.touch in RESTARTING:
        return _restart(access, settings)
    if access.account is not None:
        try:
            answer = _by_account(access)
        except AdapterError:
            # A server that cannot be asked, its certificates expired perhaps, can be signalled.
            if instance.pid_file is None:
                raise
        else:
            if isinstance(answer, system_account.ReloadRefused):
                raise refused(instance, answer.description)
            return "system account", answer
    if instance.pid_file is not None:
        return _by_signal(access, Path(instance.pid_file), settings)
    if instance.restart:
        return _restart(access, settings)
    raise NotFound(
        "nothing says how to make it reload",
        system=_name(instance),
        operation="reload",
        hint="describe the system account under `system`, or the instance's `pid_file`",
    )


def _by_account(access: ServerAccess) -> datetime | system_account.ReloadRefused:
    """Return the new `config_load_time`, or the refusal; raise when the server cannot be asked."""
    with access.connection() as connection:
        server = connection.info.server_id
        before = system_account.varz(connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS)
        answer = system_account.reload(connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS)
        if isinstance(answer, system_account.ReloadRefused):
            return answer
        after = system_account.varz(connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS)
    # Its answer alone proves nothing (docs/explanation/evidence.md): it must have loaded something.
    if after.config_load_time <= before.config_load_time:
        return system_account.ReloadRefused(answer.server, "its `config_load_time` has not moved")
    return after.config_load_time


def refused(instance: InstanceDescription, words: str) -> Rejected:
    """Return the error for a server that keeps what it had, in its own words."""
    return Rejected(
        words,
        system=_name(instance),
        operation="reload",
        hint="it keeps what it had; correct what it names, then run again",
    )


def _by_signal(
    access: ServerAccess, pid_file: Path, settings: ReloadSettings
) -> tuple[str, datetime | None]:
    before = _load_time(access)
    _send(access.instance, process_id(access.instance, pid_file))
    # Nobody can be asked whether it took the files: the ports have to show it.
    if before is None:
        return "signal", None
    deadline = monotonic() + settings.timeout_seconds
    while monotonic() < deadline:
        now = _load_time(access)
        if now is not None and now > before:
            return "signal", now
        sleep(POLL_SECONDS)
    raise TimedOut(
        f"no reload within {settings.timeout_seconds:g} s of the signal: `config_load_time` stays "
        f"{before:%Y-%m-%d %H:%M:%S}Z",
        system=_name(access.instance),
        operation="reload",
        hint="its log says why it refused; with a system account the reason would stand here",
    )


def _load_time(access: ServerAccess) -> datetime | None:
    varz = _varz(access)
    return varz.config_load_time if varz is not None else None


def _varz(access: ServerAccess) -> Varz | None:
    monitor = access.monitor()
    if monitor is None:
        return None
    with suppress(AdapterError):
        return monitor.varz()
    return None


def process_id(instance: InstanceDescription, pid_file: Path) -> int:
    """Return the process id in a file; `Unreachable` when there is none.

    A number that has been given to another program since is refused: SIGHUP ends most of them.
    """
    try:
        text = read_start(pid_file, size=_LONGEST_PID).strip()
    except OSError as error:
        raise _no_process(instance, f"`{pid_file}`: {error.strerror}") from error
    # 0 and 1 would reach whole groups of processes, or the init process.
    if not text.isdigit() or int(text) <= 1:
        raise _no_process(instance, f"`{pid_file}` holds no process id")
    process = int(text)
    name = _process_name(process)
    expected = Path(instance.binary).name if instance.binary is not None else SERVER_NAME
    if name and SERVER_NAME not in name and not expected.startswith(name):
        raise _no_process(
            instance, f"`{pid_file}` is stale: process {process} is `{name}`, no nats-server"
        )
    return process


def _process_name(process: int) -> str:
    """Return what the system calls a process, at most 15 characters; empty where it cannot tell."""
    try:
        return Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _send(instance: InstanceDescription, process: int) -> None:
    try:
        os.kill(process, signal.SIGHUP)
    except OSError as error:
        raise _no_process(instance, f"process {process}: {error.strerror}") from error


def _no_process(instance: InstanceDescription, reason: str) -> Unreachable:
    return Unreachable(
        reason,
        system=_name(instance),
        operation="reload",
        hint="start the server, and check its `pid_file` in the fleet file",
    )


def _restart(access: ServerAccess, settings: ReloadSettings) -> tuple[str, datetime | None]:
    before = _varz(access)
    restart(access.instance, settings)
    deadline = monotonic() + settings.timeout_seconds
    while access.instance.monitor is not None and monotonic() < deadline:
        now = _varz(access)
        # The process that is to end may still answer: only a later start is the new one.
        if now is not None and (before is None or now.start > before.start):
            return "restart", now.config_load_time
        sleep(POLL_SECONDS)
    if access.instance.monitor is None:
        return "restart", None
    raise TimedOut(
        f"it is not back within {settings.timeout_seconds:g} s",
        system=_name(access.instance),
        operation="restart",
        hint="see its log",
    )


def restart(instance: InstanceDescription, settings: ReloadSettings) -> None:
    """Run the operator's restart command; `NotFound` without one, `Rejected` when it fails."""
    if not instance.restart:
        raise NotFound(
            "no command restarts it",
            system=_name(instance),
            operation="restart",
            hint="describe `restart`, a list: the command and its arguments",
        )
    try:
        ended = bounded_command.run(
            instance.restart,
            environment=settings.environment,
            timeout_seconds=settings.timeout_seconds,
        )
    except OSError as error:
        reason = error.strerror or "it cannot be started"
        raise _restart_failed(instance, f"`{instance.restart[0]}`: {reason}") from error
    if ended.timed_out or ended.code != 0:
        how = "did not end in time" if ended.timed_out else f"ended with {ended.code}"
        said = ended.output.strip()[-_LONGEST_OUTPUT:]
        raise _restart_failed(instance, f"`{instance.restart[0]}` {how}: {said or 'no output'}")


def _restart_failed(instance: InstanceDescription, reason: str) -> Rejected:
    return Rejected(
        reason,
        system=_name(instance),
        operation="restart",
        hint="run the command by hand and see what it says",
    )


def _name(instance: InstanceDescription) -> str:
    return f"nats-server `{instance.name}`"
