"""Real fleets of nats-servers on this machine: start one, look at it, disturb it, end it.

::

    from rollover_lab.nats import lab
    from rollover_lab.nats.spec import preset_named

    with lab.running(preset_named("cluster"), Path("demo")) as fleet:
        fleet.restart_server("n1", kill=True)
        print(fleet.traffic().lost)

The processes belong to a supervisor process. It ends them all when the `with` block or the process
around it ends, also by SIGKILL; `release` lets them run on until `down`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from signal import SIGHUP

import msgspec

from rollover.codec.fleet_file import read_fleet
from rollover.errors import NotFound, Rejected, SpecError, Unreachable
from rollover.fleet.description import FleetDescription, InstanceDescription
from rollover_lab import children, lifecycle, machine, state
from rollover_lab.children import ProcessId
from rollover_lab.control import (
    Control,
    LabRequest,
    ReleaseLab,
    ReportState,
    StartProcess,
    StopProcess,
)
from rollover_lab.lifecycle import (
    await_nothing_missing,
    claimed_directory,
    filled_directory,
    spawn,
)
from rollover_lab.machine import FindPorts
from rollover_lab.nats import foundation, readiness
from rollover_lab.nats.description import SERVER_PLATFORM
from rollover_lab.nats.foundation import Foundation
from rollover_lab.nats.layout import NatsLayout
from rollover_lab.nats.readiness import PortTaken
from rollover_lab.nats.spec import LabSpec, check_lab
from rollover_lab.state import LabState, NatsContent, ProcessRecord, ProcessState
from rollover_lab.traffic import report as traffic_report
from rollover_lab.traffic.report import TrafficReport

PORT_ATTEMPTS = 3
ASK_SECONDS = 30.0
"""Longer than the supervisor waits for a process to stop."""
_RELOADED = b"Reloaded server configuration"

# linux/fs.h, for a 64-bit `long`.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_IMMUTABLE = 0x10
_FLAGS = struct.Struct("l")

_NO_FLAGS = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS})
"""A file system without flags: nothing on it can be immutable."""

_READ_ONLY_DIRECTORY, _READ_ONLY_FILE = 0o500, 0o400
_DIRECTORY, _FILE = 0o700, 0o600


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a lab, for people and scripts."""

    directory: str
    name: str
    up: bool
    """Whether its supervisor runs."""
    processes: tuple[ProcessRecord, ...]


class Lab:
    """A lab that runs. Every method that changes it returns when the change has been seen."""

    def __init__(
        self,
        layout: NatsLayout,
        spec: LabSpec,
        *,
        description: FleetDescription,
        lifeline: int | None,
    ) -> None:
        self.layout = layout
        self.spec = spec
        self.description = description
        self._lifeline = lifeline

    @property
    def directory(self) -> Path:
        """The lab's directory."""
        return self.layout.root

    def status(self) -> LabStatus:
        """Return what runs."""
        return status(self.directory)

    def traffic(self) -> TrafficReport:
        """Return what the clients have counted until about now; final once the lab is down."""
        return traffic_report.read(self.layout.traffic_report)

    def stop_server(self, name: str, *, kill: bool = False) -> None:
        """Stop a server, in order or with SIGKILL, and wait until it has ended."""
        self._instance(name)
        _ask(self.layout, StopProcess(name=name, kill=kill))

    def start_server(self, name: str, *, settled: bool = True) -> None:
        """Start a server that does not run, and wait until it works with those that run.

        `settled` False: wait only until it listens. Raises `Rejected` with the last lines of its
        log when it ends at once, `TimedOut`.
        """
        server = self._instance(name)
        started = _ask(self.layout, StartProcess(name=name))
        states = {process.name: process.state for process in started.processes}
        running = tuple(
            description
            for description in self._servers()
            if states[description.name] is ProcessState.RUNNING
        )
        quorum = 2 * len(running) > len(self._servers())
        readiness.await_servers(
            running if settled else (server,),
            partial(_ask, self.layout, ReportState()),
            settled=settled,
            jetstream=_stores(self.spec) and quorum,
            spec=self.spec,
        )

    def restart_server(self, name: str, *, kill: bool = False, settled: bool = True) -> None:
        """Stop a server and start it again."""
        self.stop_server(name, kill=kill)
        self.start_server(name, settled=settled)

    def reload_server(self, name: str) -> None:
        """Have a server read its files, and wait until its log says that it did."""
        log = self.layout.log(name)
        before = log.stat().st_size
        process = state.read(self.layout.lab.state).process(name).process
        if process is None or not children.send_signal(process, SIGHUP):
            raise Unreachable(
                "it does not run",
                system=f"`{name}`",
                operation="reload",
                hint=f"start it: `rollover lab start {name}`",
            )
        await_nothing_missing(
            lambda: "" if _RELOADED in log.read_bytes()[before:] else f"`{name}` has not reloaded",
            lambda: None,
        )

    def make_read_only(self, name: str) -> None:
        """Have the directory of a server's or client's certificates refuse every change."""
        self._instance(name)
        make_read_only(self.layout.material_directory(name))

    def make_writable(self, name: str) -> None:
        """Take `make_read_only` back."""
        self._instance(name)
        make_writable(self.layout.material_directory(name))

    def release(self) -> None:
        """Let the lab run on when this process ends."""
        Control(self.layout.lab.control, timeout_seconds=ASK_SECONDS).tell(ReleaseLab())
        self._drop_lifeline()

    def down(self) -> None:
        """End the lab; idempotent."""
        try:
            down(self.directory)
        finally:
            self._drop_lifeline()

    def _servers(self) -> tuple[InstanceDescription, ...]:
        return _servers(self.description)

    def _instance(self, name: str) -> InstanceDescription:
        for group in self.description.groups:
            for instance in group.instances:
                if instance.name == name:
                    return instance
        raise NotFound(
            f"there is no instance `{name}`",
            system="lab",
            operation="look it up",
            hint=f"the servers are {', '.join(server.name for server in self._servers())}",
        )

    def _drop_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def up(
    spec: LabSpec,
    directory: Path,
    *,
    detach: bool = False,
    find_ports: FindPorts = machine.free_ports,
) -> Lab:
    """Start a lab in a new or empty directory, and return it when everything in it works.

    That is: servers listen, routes stand, JetStream has a leader, every client is connected and
    hears the others. It ends with this process; with `detach` it runs until `down`. What fails
    leaves no process behind, but the directory with its logs; interrupted, or before there is
    any, it removes that too. Raises `StaleError` when a lab runs
    there, `SpecError`, `NotFound` without a nats-server, `Rejected` with the last lines of the
    log of a process that ended, `TimedOut`.
    """
    check_lab(spec)
    server = machine.find_nats_server(spec.binary)
    layout = NatsLayout(directory.absolute())
    with claimed_directory(layout.lab) as lock, filled_directory(layout.lab):
        base = foundation.lay_foundation(layout, spec, binary=server, now=datetime.now(UTC))
        lab = _start(base, lock, find_ports)
    if detach:
        lab.release()
    return lab


def attach(directory: Path) -> Lab:
    """Return the lab that runs in a directory; it goes on when this process ends.

    `SpecError` when there is none, `Unreachable` when it has ended.
    """
    layout = NatsLayout(directory.absolute())
    known = state.read(layout.lab.state)
    spec = _spec(known, directory)
    if not known.up:
        raise Unreachable(
            f"the lab in `{layout.root}` has ended",
            system="lab",
            operation="attach",
            hint="`rollover lab up` starts one",
        )
    description = read_fleet(layout.fleet.read_bytes(), place=str(layout.fleet))
    return Lab(layout, spec, description=description, lifeline=None)


@contextmanager
def running(
    spec: LabSpec, directory: Path, *, find_ports: FindPorts = machine.free_ports
) -> Iterator[Lab]:
    """Start a lab for the body of `with`, and end it however the body ends."""
    lab = up(spec, directory, find_ports=find_ports)
    try:
        yield lab
    finally:
        lab.down()


def status(directory: Path) -> LabStatus:
    """Return what runs in a directory; `SpecError` when there never was a lab."""
    layout = NatsLayout(directory.absolute())
    known = state.read(layout.lab.state)
    return LabStatus(
        directory=str(layout.root),
        name=known.content.name,
        up=known.up,
        processes=tuple(_corrected(process) for process in known.processes),
    )


def down(directory: Path, *, remove: bool = False) -> tuple[ProcessId, ...]:
    """End the lab in a directory, whoever started it, and return which processes were ended.

    Only processes that the lab recorded are touched, each only while its start time is the
    recorded one. Empty when the lab had ended before. `remove` deletes the directory. `SpecError`
    when there never was a lab, `TimedOut` when a process does not end even when it is killed.
    """
    layout = NatsLayout(directory.absolute())
    ended = lifecycle.end_processes(layout.lab)
    for material in (*layout.root.glob("*/tls"), *layout.clients.glob("*/")):
        make_writable(material)
    if remove:
        shutil.rmtree(layout.root)
    return ended


def _ask(layout: NatsLayout, request: LabRequest) -> LabState:
    return Control(layout.lab.control, timeout_seconds=ASK_SECONDS).ask(request, LabState)


def _start(base: Foundation, lock: int, find_ports: FindPorts) -> Lab:
    for attempt in range(1, PORT_ATTEMPTS + 1):
        # Nothing keeps a free port free until the server listens: another process may be faster.
        description = foundation.write_on_ports(base, find_ports)
        try:
            return _start_on_ports(base, lock, description)
        except PortTaken:
            if attempt == PORT_ATTEMPTS:
                raise
    raise AssertionError("the loop returns or raises")  # pragma: no cover


def _start_on_ports(base: Foundation, lock: int, description: FleetDescription) -> Lab:
    lifeline = spawn(base.layout.lab, lock)
    lab = Lab(base.layout, base.spec, description=description, lifeline=lifeline)
    report = partial(_ask, base.layout, ReportState())
    try:
        readiness.await_servers(
            _servers(description), report, jetstream=_stores(base.spec), spec=base.spec
        )
        if base.parts:
            _ask(base.layout, StartProcess(name=state.TRAFFIC))
            readiness.await_traffic(base.layout.traffic_report, report)
    except BaseException:
        lab.down()
        raise
    return lab


def _spec(known: LabState, directory: Path) -> LabSpec:
    if isinstance(known.content, NatsContent):
        return known.content.spec
    raise SpecError(
        "it holds a BOSH lab, which has no such servers",
        place=str(directory),
        hint="`rollover lab fault` disturbs its agents",
    )


def _stores(spec: LabSpec) -> bool:
    return any(cluster.jetstream for cluster in spec.clusters)


def _servers(description: FleetDescription) -> tuple[InstanceDescription, ...]:
    return tuple(
        instance
        for group in description.groups
        if group.platform == SERVER_PLATFORM
        for instance in group.instances
    )


def _corrected(known: ProcessRecord) -> ProcessRecord:
    """Correct a record that nobody keeps any more: its supervisor was killed, and all with it."""
    gone = known.process is not None and not children.is_alive(known.process)
    if known.state is ProcessState.RUNNING and gone:
        return msgspec.structs.replace(known, state=ProcessState.STOPPED)
    return known


def make_read_only(directory: Path) -> None:
    """Make a directory and its files refuse changes.

    Modes are enough for an ordinary user. Root gets the immutable flag (chattr(1)), which needs
    CAP_LINUX_IMMUTABLE and a file system that knows it: `Rejected` where either is missing, and
    then nothing has changed.
    """
    try:
        if os.geteuid() == 0:
            _set_all(directory, immutable=True)
        else:
            _set_modes(directory, of_directory=_READ_ONLY_DIRECTORY, of_files=_READ_ONLY_FILE)
    except OSError as error:
        make_writable(directory)
        raise Rejected(
            f"`{directory}` cannot be made read-only: {error.strerror}",
            system="lab",
            operation="make read-only",
            hint="run the lab as an ordinary user, or with CAP_LINUX_IMMUTABLE on ext4, XFS or "
            "Btrfs",
        ) from None


def make_writable(directory: Path) -> None:
    """Take `make_read_only` back; idempotent, and harmless where it never happened."""
    try:
        if os.geteuid() == 0:
            _set_all(directory, immutable=False)
        else:
            _set_modes(directory, of_directory=_DIRECTORY, of_files=_FILE)
    except OSError as error:
        raise Rejected(
            f"`{directory}` cannot be made writable again: {error.strerror}",
            system="lab",
            operation="make writable",
            hint=f"as root: `chattr -R -i {directory}`",
        ) from None


def _set_all(directory: Path, *, immutable: bool) -> None:
    for path in (*_files(directory), directory):
        _set_flag(path, immutable=immutable)


def _set_flag(path: Path, *, immutable: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = _flags(descriptor)
        wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        if wanted != flags:
            fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(wanted))
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    try:
        answer = fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FLAGS.size))
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise
    flags: int = _FLAGS.unpack(answer)[0]
    return flags


def _set_modes(directory: Path, *, of_directory: int, of_files: int) -> None:
    directory.chmod(of_directory)
    for path in _files(directory):
        path.chmod(of_files)


def _files(directory: Path) -> tuple[Path, ...]:
    return tuple(path for path in sorted(directory.iterdir()) if path.is_file())
