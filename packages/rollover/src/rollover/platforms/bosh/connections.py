"""Who is connected to the director's NATS, and with which certificate: the proof of agents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Protocol

import msgspec

from rollover.errors import AdapterError
from rollover.fleet.names import Fingerprint
from rollover.probe.monitoring import Monitor
from rollover.probe.views import ConnectionView

TIMEOUT_SECONDS = 15.0
MAX_AGE_SECONDS = 0.3
"""Many agents are proven at once: they share one listing, not one each."""

_AGENT = re.compile(
    r"(?:^|[,/+ ])CN ?= ?(?P<id>[A-Za-z0-9_-]{1,128})(?P<bootstrap>\.bootstrap)?"
    r"\.agent\.bosh-internal(?:$|[,/+ ])"
)
_OF_THE_DIRECTOR = re.compile(
    r"(?:^|[,/+ ])CN ?= ?[A-Za-z0-9_-]+\.(?:director|hm)\.bosh-internal(?:$|[,/+ ])"
)


class AgentConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A live connection of an agent. `bootstrap`: with the certificate of its VM's birth."""

    cid: int
    agent_id: str
    bootstrap: bool
    cert_sha256: Fingerprint
    since: datetime | None = None


class OtherConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A live connection of somebody else than an agent, the director or the health monitor."""

    cid: int
    subject: str
    """Of its certificate; empty without one."""
    ip: str = ""
    since: datetime | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Every connection at one time; of an agent's several, the newest counts.

    `missing` says why they cannot be listed, if they cannot.
    """

    agents: tuple[AgentConnection, ...] = ()
    others: tuple[OtherConnection, ...] = ()
    missing: str = ""

    def current(self) -> dict[str, AgentConnection]:
        """Return the newest connection of every agent, by its id.

        Where the director does not replace the certificate of a VM's birth at once
        (`enable_short_lived_nats_bootstrap_credentials: false`, the default before 277.2), that one
        is the agent's certificate until the first rotation: as good as any other.
        """
        # Connection ids count up as long as a server runs.
        by_age = sorted(self.agents, key=lambda each: each.cid)
        return {each.agent_id: each for each in by_age}

    def newborn(self) -> frozenset[str]:
        """Return the agents that are connected with the certificate of their VM's birth only."""
        own = {each.agent_id for each in self.agents if not each.bootstrap}
        return frozenset(each.agent_id for each in self.agents if each.agent_id not in own)


class Connections(Protocol):
    """Lists the connections of the director's NATS."""

    def listing(self) -> Listing:
        """Return all connections now, or why they cannot be listed."""
        ...

    def started_at(self) -> datetime | None:
        """Return when the NATS server started; None when nobody can see it."""
        ...


class MonitoredConnections:
    """The connections as the monitoring port at `url` lists them; None: there is no such port.

    A listing is shared by the threads that ask for one within `MAX_AGE_SECONDS`.
    """

    def __init__(
        self,
        url: str | None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        monitor: Callable[[str, float], Monitor] | None = None,
    ) -> None:
        make = monitor or _monitor
        self._monitor = None if url is None else make(url, timeout_seconds)
        self._lock = Lock()
        self._fetched_at = float("-inf")
        self._listing = Listing()

    def listing(self) -> Listing:
        """Return all connections now, or why they cannot be listed."""
        # Noted before the lock: who waited for a listing may use it, and need not fetch another.
        asked = monotonic()
        with self._lock:
            if asked - self._fetched_at > MAX_AGE_SECONDS:
                # Begun before it is fetched: what it shows is never older than it claims.
                self._fetched_at = monotonic()
                self._listing = self._fetch()
            return self._listing

    def started_at(self) -> datetime | None:
        """Return when the NATS server started; None when nobody can see it."""
        if self._monitor is None:
            return None
        try:
            return self._monitor.varz().start
        except AdapterError:
            return None

    def _fetch(self) -> Listing:
        if self._monitor is None:
            return Listing(
                missing="`director.monitor`, the monitoring port of NATS, is not in the fleet file"
            )
        try:
            return read(self._monitor.connections())
        except AdapterError as error:
            return Listing(missing=str(error))


def _monitor(url: str, timeout_seconds: float) -> Monitor:
    return Monitor(url, timeout_seconds=timeout_seconds)


def read(views: Iterable[ConnectionView]) -> Listing:
    """Return connections sorted by who their certificate says they are."""
    agents: list[AgentConnection] = []
    others: list[OtherConnection] = []
    for view in views:
        leaf = view.tls_peer_certs[0] if view.tls_peer_certs else None
        subject = leaf.subject if leaf is not None else ""
        found = _AGENT.search(subject)
        if found is not None and leaf is not None:
            agents.append(
                AgentConnection(
                    cid=view.cid,
                    agent_id=found["id"],
                    bootstrap=found["bootstrap"] is not None,
                    cert_sha256=Fingerprint(leaf.cert_sha256.lower()),
                    since=view.start,
                )
            )
        elif not _OF_THE_DIRECTOR.search(subject):
            others.append(
                OtherConnection(cid=view.cid, subject=subject, ip=view.ip, since=view.start)
            )
    return Listing(agents=tuple(agents), others=tuple(others))
