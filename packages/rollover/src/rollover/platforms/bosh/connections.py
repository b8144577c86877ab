"""Who is connected to the director's NATS, with which certificate, and who lives on a retired CA.

The list of connections is the proof of agents. The monitoring port shows the fingerprint of a
certificate and not its issuer: which CA an agent's comes from is concluded by the provenance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import NamedTuple, Protocol

import msgspec

from rollover.errors import AdapterError, EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Holdout
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.nats_properties import NatsTls
from rollover.platforms.bosh.provenance import ProvenanceFile, VmCreationTimes
from rollover.probe.monitoring import Monitor
from rollover.probe.server_views import ConnectionView

TIMEOUT_SECONDS = 15.0
MAX_AGE_SECONDS = 0.3
"""Many agents are proven at once: they share one listing, not one each."""

# The common name may stand first or last, with blanks or without. All of it has to fit: one like
# `a.agent.bosh-internal.example.com` is a stranger's.
_AGENT_NAME = re.compile(
    r"(?:^|[,/+ ])CN ?= ?(?P<id>[A-Za-z0-9_-]{1,128})(?P<bootstrap>\.bootstrap)?"
    r"\.agent\.bosh-internal(?:$|[,/+ ])"
)
_DIRECTOR_NAME = re.compile(
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
        by_age = sorted(self.agents, key=lambda agent: agent.cid)
        return {connection.agent_id: connection for connection in by_age}

    def just_created(self) -> frozenset[str]:
        """Return the agents that are connected with the certificate of their VM's birth only."""
        own = {agent.agent_id for agent in self.agents if not agent.bootstrap}
        return frozenset(agent.agent_id for agent in self.agents if agent.agent_id not in own)


class Connections(Protocol):
    """Lists the connections of the director's NATS."""

    def listing(self) -> Listing:
        """Return all connections now, or why they cannot be listed."""
        ...

    def started_at(self) -> datetime | None:
        """Return when the NATS server started; None when nobody can see it."""
        ...


class MonitoredConnections:
    """The connections as the monitoring port of NATS lists them; None: there is no such port.

    A listing is shared by the threads that ask for one within `MAX_AGE_SECONDS`.
    """

    def __init__(self, monitor: Monitor | None) -> None:
        self._monitor = monitor
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
            return sorted_connections(self._monitor.connections())
        except AdapterError as error:
            return Listing(missing=str(error))


def sorted_connections(views: Iterable[ConnectionView]) -> Listing:
    """Return connections sorted by who their certificate says they are."""
    agents: list[AgentConnection] = []
    others: list[OtherConnection] = []
    for view in views:
        leaf = view.tls_peer_certs[0] if view.tls_peer_certs else None
        subject = leaf.subject if leaf is not None else ""
        named = _AGENT_NAME.search(subject)
        if named is not None and leaf is not None:
            agents.append(
                AgentConnection(
                    cid=view.cid,
                    agent_id=named["id"],
                    bootstrap=named["bootstrap"] is not None,
                    cert_sha256=Fingerprint(leaf.cert_sha256.lower()),
                    since=view.start,
                )
            )
        elif not _DIRECTOR_NAME.search(subject):
            others.append(
                OtherConnection(cid=view.cid, subject=subject, ip=view.ip, since=view.start)
            )
    return Listing(agents=tuple(agents), others=tuple(others))


class KnownAgents(NamedTuple):
    """What is known of agents' certificates: the ledger's, for NATS shows no issuer."""

    ledger: ProvenanceFile
    placed: Callable[[], Iterable[BoshInstance]]
    creation_times: VmCreationTimes
    at: datetime

    def note_connected(
        self,
        listing: Listing,
        placed: Mapping[str, BoshInstance],
        *,
        trusted: Iterable[Fingerprint],
    ) -> None:
        """Let the ledger know who is connected, where that is news.

        The states of later connections are concluded from it.
        """
        current = listing.current()
        seen = {agent: connection.cert_sha256 for agent, connection in current.items()}
        for agent, certificate in seen.items():
            observed = self.ledger.observed_certificates(agent)
            if not observed or observed[-1].certificate != certificate:
                born = {agent: self.creation_times.after(vm) for agent, vm in placed.items()}
                self.ledger.record_connected(seen, born=born, trusted=trusted, at=self.at)
                return

    def retired_issuer(
        self,
        connection: AgentConnection,
        instance: BoshInstance | None,
        retired: Mapping[Fingerprint, Certificate],
        *,
        trusted: Iterable[Fingerprint],
    ) -> str | None:
        """Return the retired CA that a connection is from; empty: nobody knows, None: from none."""
        states = self.ledger.states(
            connection.agent_id,
            trusted=trusted,
            certificate=connection.cert_sha256,
            born=self.creation_times.after(instance) if instance is not None else None,
            at=self.at,
        )
        signers = {state.signer for state in states}
        if not signers:
            return ""
        if not signers & retired.keys():
            return None
        return retired[signers.pop()].subject if len(signers) == 1 else ""


def live_connections(monitor: Monitor | None) -> tuple[ConnectionView, ...]:
    """Return the live connections; `EvidenceMissing` when they cannot be listed."""
    if monitor is None:
        raise EvidenceMissing(
            "the connections of the director's NATS cannot be listed: no monitoring port is "
            "described",
            hint="set `nats.enable_metrics_endpoint: true` and name the port as "
            "`director.monitor` (it listens on localhost:8222 of the director VM: use a tunnel)",
        )
    try:
        return monitor.connections()
    except AdapterError as error:
        raise EvidenceMissing(
            f"the connections of the director's NATS cannot be listed: {error.message}",
            hint=error.hint or "look at `director.monitor`",
        ) from None


def holdouts(
    server: InstanceName,
    views: Sequence[ConnectionView],
    *,
    retired: Sequence[Certificate],
    tls: Sequence[NatsTls],
    agents: KnownAgents,
    own: frozenset[Fingerprint],
) -> Iterator[Holdout]:
    """Yield who comes from a retired CA, and who may: nobody can tell of those.

    `tls`: what the director VM may have; `own`: the certificates that Rollover itself presents.
    Director and health monitor are none of them: they are made anew together with NATS.
    """
    listing = sorted_connections(views)
    by_fingerprint = {authority.fingerprint: authority for authority in retired}
    trusted = [authority.fingerprint for possible in tls for authority in possible.bundle]
    placed = {instance.agent_id: instance for instance in agents.placed() if instance.agent_id}
    agents.note_connected(listing, placed, trusted=trusted)
    for agent in listing.agents:
        instance = placed.get(agent.agent_id)
        issuer = agents.retired_issuer(agent, instance, by_fingerprint, trusted=trusted)
        if issuer is not None:
            yield Holdout(
                server=server,
                connection=agent.cid,
                peer=instance.name if instance is not None else f"agent {agent.agent_id}",
                certificate=agent.cert_sha256,
                issuer_name=issuer,
            )
    by_cid = {view.cid: view for view in views}
    for other in listing.others:
        shown = by_cid[other.cid].tls_peer_certs
        certificate = Fingerprint(shown[0].cert_sha256.lower() if shown else "")
        if certificate not in own:
            peer = other.subject or f"{other.ip}:{by_cid[other.cid].port}"
            yield Holdout(server=server, connection=other.cid, peer=peer, certificate=certificate)
