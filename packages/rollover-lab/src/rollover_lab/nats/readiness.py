"""Waits until a lab works: servers listen, routes stand, JetStream has a leader, clients talk."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.errors import Rejected, RolloverError, SpecError, Unreachable
from rollover.fleet.description import InstanceDescription
from rollover.fleet.fleet import Role
from rollover.probe.monitoring import Monitor, read_page
from rollover_lab import state
from rollover_lab.lifecycle import READY_SECONDS, await_nothing_missing
from rollover_lab.machine import LOOPBACK
from rollover_lab.nats.spec import LabSpec
from rollover_lab.state import LabState, ProcessRecord, ProcessState, last_lines
from rollover_lab.traffic import report as traffic_report
from rollover_lab.traffic.report import TrafficPhase

_REQUEST_SECONDS = 2.0
_GREETING = b"INFO "
_GREETING_SECONDS = 0.5
_GREETING_LIMIT = 64 * 1024
_PORT_TAKEN = "address already in use"


class PortTaken(Rejected):
    """Another process has taken the port of a server since it was found free."""


class ExpectedPeers(NamedTuple):
    """Whom a server has to be connected with until it counts as settled."""

    routes: int = 0
    gateways: int = 0
    """To so many other clusters."""
    leaf: bool = False
    """It is a leaf node, and its hub runs."""

    @property
    def joined(self) -> bool:
        """Whether there is any other server whose JetStream it has to agree with."""
        return bool(self.routes or self.gateways)


class _Greeting(msgspec.Struct, frozen=True):
    server_name: str = ""


class _Meta(msgspec.Struct, frozen=True):
    leader: str = ""


class _Jsz(msgspec.Struct, frozen=True):
    meta_cluster: _Meta = _Meta()


AskState = Callable[[], LabState]
"""Asks the supervisor what runs."""


def await_servers(
    servers: tuple[InstanceDescription, ...],
    report: AskState,
    *,
    spec: LabSpec,
    seconds: float = READY_SECONDS,
    settled: bool = True,
    jetstream: bool = True,
) -> None:
    """Wait until these servers work with each other, and with `jetstream` have a leader in it.

    `settled` False: until they listen, whatever their peers do. Raises `PortTaken`, `Rejected`
    with the last lines of the log when a server ends, and `TimedOut`.
    """
    names = {str(server.name) for server in servers}
    peers = expected_peers(spec, names)

    def missing() -> str:
        for server in servers:
            wanted = peers[server.name]
            lack = _lack(server, peers=wanted, settled=settled, jetstream=jetstream)
            if lack:
                return f"`{server.name}`: {lack}"
        return ""

    await_nothing_missing(missing, lambda: check_crashes(report(), names), seconds=seconds)


def await_traffic(path: Path, report: AskState, *, seconds: float = READY_SECONDS) -> None:
    """Wait until every client of the traffic hears what it should, and messages are counted."""

    def missing() -> str:
        try:
            traffic = traffic_report.read(path)
        except SpecError:
            return "the traffic has not said anything yet"
        if traffic.phase is TrafficPhase.RUNNING:
            return ""
        error = next(
            (f"; {client.name}: {client.error}" for client in traffic.clients if client.error), ""
        )
        return f"the traffic is {traffic.phase}{error}"

    await_nothing_missing(
        missing, lambda: check_crashes(report(), {state.TRAFFIC}), seconds=seconds
    )


def check_crashes(known: LabState, names: set[str]) -> None:
    """Raise when one of these processes has ended by itself."""
    for process in known.processes:
        if process.name in names and process.state is ProcessState.CRASHED:
            raise crashed(process)


def crashed(process: ProcessRecord) -> Rejected:
    """Return the error for a process that ended by itself, with its last words."""
    lines = process.last_lines or last_lines(process)
    said = "\n  ".join(lines) or "(it said nothing)"
    kind = PortTaken if any(_PORT_TAKEN in line for line in lines) else Rejected
    logs = process.program.logs or (process.program.output,)
    return kind(
        f"it ended with code {process.exit_code}; its last words:\n  {said}",
        system=f"`{process.name}`",
        operation="run",
        hint=f"the whole log is `{logs[0]}`",
    )


def expected_peers(spec: LabSpec, running: Collection[str]) -> dict[str, ExpectedPeers]:
    """Return, for each server that runs, whom it has to be connected with."""
    members = [member for member in spec.members if member.name in running]
    leaves = [member for member in members if member.leaf]
    own = {
        cluster.name: [
            member for member in members if member.cluster is cluster and not member.leaf
        ]
        for cluster in spec.clusters
    }
    others = {name: sum(1 for other in own if other != name and own[other]) for name in own}
    found = {leaf.name: ExpectedPeers(leaf=bool(own[leaf.cluster.name])) for leaf in leaves}
    for name, servers in own.items():
        for server in servers:
            found[server.name] = ExpectedPeers(routes=len(servers) - 1, gateways=others[name])
    return found


def _lack(
    server: InstanceDescription, *, peers: ExpectedPeers, settled: bool, jetstream: bool
) -> str:
    """Return what a server still lacks; without monitoring only the client port can tell."""
    try:
        # A port that was found free may be that of somebody else's server by now.
        if _greeting(_port(server)).server_name != server.name:
            return "another server answers on its port"
        if server.monitor is None or not settled:
            return ""
        return _lack_by_monitoring(server.monitor, peers=peers, jetstream=jetstream)
    except (OSError, msgspec.MsgspecError, RolloverError) as error:
        return f"it does not answer yet ({error})"


def _lack_by_monitoring(url: str, *, peers: ExpectedPeers, jetstream: bool) -> str:
    monitor = Monitor(url, timeout_seconds=_REQUEST_SECONDS)
    connected = {route.remote_name for route in monitor.routez().routes}
    if len(connected) < peers.routes:
        return f"routes to {len(connected)} of {peers.routes} servers"
    # Outbound only; inbound, a cluster may all come to another server.
    gateways = len(monitor.gatewayz().outbound_gateways) if peers.gateways else 0
    if gateways < peers.gateways:
        return f"gateways to {gateways} of {peers.gateways} clusters"
    if peers.leaf:
        return "" if monitor.leafz().leafs else "its hub has not let it in"
    return _lack_of_jetstream(url, monitor, alone=not peers.joined) if jetstream else ""


def _lack_of_jetstream(url: str, monitor: Monitor, *, alone: bool) -> str:
    health = monitor.healthz()
    if not health.fine:
        return health.error or health.status
    if alone:
        return ""
    jsz = read_page(f"{url}/jsz", into=_Jsz, timeout_seconds=_REQUEST_SECONDS)
    return "" if jsz.meta_cluster.leader else "JetStream has no leader"


def _port(server: InstanceDescription) -> int:
    for endpoint in server.endpoints:
        if endpoint.role is Role.CLIENT_PORT and endpoint.address:
            return int(endpoint.address.rpartition(":")[2])
    raise Unreachable(
        "it has no client port", system=f"`{server.name}`", operation="find its address"
    )


def _greeting(port: int) -> _Greeting:
    """Return what a server says at once to everybody who dials its client port."""
    with socket.create_connection((LOOPBACK, port), _GREETING_SECONDS) as connection:
        line = connection.makefile("rb").readline(_GREETING_LIMIT)
    if not line.startswith(_GREETING):
        raise ConnectionError("no greeting")
    return msgspec.json.decode(line.removeprefix(_GREETING), type=_Greeting)
