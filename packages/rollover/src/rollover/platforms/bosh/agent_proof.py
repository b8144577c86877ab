"""Proves that agents have what was ordered: never by the director's word (H1 to H4).

The proof is a live connection whose certificate can only come from the ordered CA, together with
the ordered bundle (`provenance`), and a ping that is answered. H1 to H18 are the hazards of
docs/explanation/bosh-hazards.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event
from time import monotonic
from typing import NamedTuple

import msgspec

from rollover.errors import AdapterError
from rollover.fleet.evidence import EndpointMaterial, Evidence, Fact, Order
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName, short
from rollover.platforms.bosh.agent_pinger import SpeaksToAgents
from rollover.platforms.bosh.connections import AgentConnection, Connections, Listing
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.provenance import AgentState, ProvenanceFile, VmCreationTimes

MBUS = EndpointName("mbus")
POLL_SECONDS = 0.5
MOST_OF_ANSWER = 40
"""Characters of an answer that become evidence: `pong`, from an agent that is one."""


class AgentPatience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for what takes its time, in seconds."""

    ping: float = 6.0
    """An agent that is there answers within milliseconds; a lost ping is repeated after 2 s."""
    answer: float = 150.0
    """After NATS has started, until the last agent is back: 70 s were measured (H13)."""
    prove: float = 180.0
    """After an update, until the agent is back; addresses can take two minutes (H14)."""
    unchanged: float = 15.0
    """An agent that is connected so long after its update as before did not change. A connection
    of a VM that was deleted lingers for 10 s."""
    fresh: float = 10.0
    """An observation of the fleet is as good for so long: silent agents make each of them slow."""
    lock: float = 3600.0
    """Until somebody else's task has ended."""
    briefly: float = 20.0
    """A lock that is held for longer than this is no health check's."""
    update: float = 300.0
    """Until an agent has taken its settings and is back, when Rollover gives them."""
    poll: float = 2.0
    """For a poll of an agent's task: one is lost while it restarts. The director waits 45 s."""


class AgentProofs(NamedTuple):
    """Who is proven, with the evidence, and who is not yet, with what is seen instead."""

    proven: Mapping[InstanceName, tuple[Evidence, ...]]
    pending: Mapping[InstanceName, str]
    gone: frozenset[InstanceName]
    """Of those, the ones that have no VM any more."""
    same: frozenset[InstanceName]
    """Of those, the ones that are connected with something else than what was ordered."""
    kept: frozenset[InstanceName]
    """Of these, the ones whose certificate is the one that they had when it began."""


class AgentProver:
    """Concludes from connections, the ledger and pings. Several threads may share one."""

    def __init__(
        self,
        *,
        connections: Connections,
        mbus: SpeaksToAgents,
        ledger: ProvenanceFile,
        creation_times: VmCreationTimes,
        trusted: frozenset[Fingerprint],
        clock: Callable[[], datetime],
        patience: AgentPatience,
    ) -> None:
        self._connections = connections
        self._mbus = mbus
        self._ledger = ledger
        self._creation_times = creation_times
        self._trusted = trusted
        self._clock = clock
        self._patience = patience
        self._unchanged = min(patience.unchanged, patience.prove)
        self._before: frozenset[str | None] = frozenset()
        self._certificates: Mapping[str, Fingerprint] = {}
        self._began: datetime | None = None

    def begin(self, instances: Sequence[BoshInstance], *, listed_at: datetime) -> Listing:
        """Note how everything is before anything is changed, and return the connections.

        Agents that are not among `instances`, all those of their deployments, are younger.
        """
        self._before = frozenset(instance.agent_id for instance in instances)
        self._began = listed_at
        listing = self.observe(instances, always=True)
        self._certificates = _certificates(listing)
        return listing

    def observe(self, instances: Sequence[BoshInstance], *, always: bool = False) -> Listing:
        """List the connections and note them in the ledger, if there is news, or `always`."""
        at = self._clock()
        listing = self._connections.listing()
        seen = _certificates(listing)
        # Of a deployment that was not asked for nothing is known, not even when it was born.
        asked = {
            instance.agent_id: self._born(instance) for instance in instances if instance.agent_id
        }
        there = {agent: seen[agent] for agent in seen if agent in asked}
        if always or not self._noted(there):
            self._ledger.record_connected(there, born=asked, trusted=self._trusted, at=at)
        return listing

    def _born(self, instance: BoshInstance) -> datetime | None:
        known = self._creation_times.after(instance)
        if self._began is None or instance.agent_id in self._before:
            return known
        return self._began if known is None else max(known, self._began)

    def _noted(self, seen: Mapping[str, Fingerprint]) -> bool:
        # Every change rewrites the whole file, and this is asked twice a second.
        agents = self._ledger.read().agents
        return all(
            agent in agents and agents[agent][-1].certificate == certificate
            for agent, certificate in seen.items()
        )

    def check(
        self, orders: Mapping[InstanceName, Order], instances: Sequence[BoshInstance]
    ) -> AgentProofs:
        """Return who has what was ordered and answers, and who does not, seen once."""
        listing = self.observe(instances)
        current = listing.current()
        placed = {instance.name: instance for instance in instances if instance.name in orders}
        pending: dict[InstanceName, str] = {}
        fitting: dict[str, InstanceName] = {}
        for name, order in orders.items():
            instance = placed.get(name)
            agent = instance.agent_id if instance is not None else None
            if instance is None or agent is None:
                pending[name] = "it has no VM"
            elif why := listing.missing or self._differs(order, instance, current.get(agent)):
                pending[name] = why
            else:
                fitting[agent] = name
        gone = frozenset(name for name, why in pending.items() if why == "it has no VM")
        same = frozenset(
            name for name in pending if name in placed and placed[name].agent_id in current
        )
        kept = frozenset(
            name for name in same if self._kept(current.get(placed[name].agent_id or ""))
        )
        answers = self._pinged(fitting)
        proven: dict[InstanceName, tuple[Evidence, ...]] = {}
        for agent, name in fitting.items():
            if agent in answers:
                proven[name] = self._evidence(name, current[agent], answers[agent])
            else:
                pending[name] = "it has its new certificate and does not answer a ping"
        return AgentProofs(proven, pending, gone, same, kept)

    def awaited(
        self,
        orders: Mapping[InstanceName, Order],
        instances: Callable[[], Sequence[BoshInstance]],
        *,
        seconds: float,
    ) -> Iterator[AgentProofs]:
        """Check again and again until it is clear of all of them, or the time is over."""
        begun = monotonic()
        left = dict(orders)
        while left:
            checked = self.check(left, instances())
            yield checked
            clear = checked.proven.keys() | checked.gone
            left = {name: order for name, order in left.items() if name not in clear}
            waited = monotonic() - begun
            if waited >= seconds or (left.keys() <= checked.same and waited >= self._unchanged):
                return
            Event().wait(min(POLL_SECONDS, seconds))

    def _differs(
        self, order: Order, instance: BoshInstance, connection: AgentConnection | None
    ) -> str:
        """Return in what an instance differs from its order; empty: in nothing."""
        if connection is None:
            return "its agent is not connected"
        states = self._ledger.states(
            connection.agent_id,
            trusted=self._trusted,
            certificate=connection.cert_sha256,
            born=self._born(instance),
            at=self._clock(),
        )
        if len(states) == 1 and state_fits(states[0], order):
            return ""
        seen = f"its certificate is {short(connection.cert_sha256)}"
        if self._kept(connection):
            return f"{seen}, as before"
        if len(states) > 1:
            return f"{seen}, and of {len(states)} updates it is not known which it comes from"
        return f"{seen}, of another CA or bundle" if states else f"{seen}, of an unknown CA"

    def _kept(self, connection: AgentConnection | None) -> bool:
        """Say whether an agent has the certificate that it had when everything began."""
        if connection is None:
            return False
        return self._certificates.get(connection.agent_id) == connection.cert_sha256

    def _pinged(self, agents: Mapping[str, InstanceName]) -> Mapping[str, str]:
        if not agents:
            return {}
        try:
            answers = self._mbus.ping(agents, timeout_seconds=self._patience.ping)
        except AdapterError:
            return {}
        return {
            agent: answer.value.decode(errors="replace")[:MOST_OF_ANSWER]
            for agent, answer in answers.items()
            if not answer.error
        }

    def _evidence(
        self, name: InstanceName, connection: AgentConnection, answer: str
    ) -> tuple[Evidence, ...]:
        return (
            Evidence(
                fact=Fact.PRESENTS,
                subject=EndpointRef(name, MBUS),
                holds=True,
                observed=f"{short(connection.cert_sha256)} on connection {connection.cid}",
                expected="a certificate that was issued after the order",
                at=self._clock(),
                by="connz",
            ),
            ping_evidence(name, answer, at=self._clock()),
        )


def _certificates(listing: Listing) -> dict[str, Fingerprint]:
    return {agent: connection.cert_sha256 for agent, connection in listing.current().items()}


def ping_evidence(name: InstanceName, answer: str, *, at: datetime, holds: bool = True) -> Evidence:
    """Return what an agent made of a ping."""
    return Evidence(
        fact=Fact.REPORTED,
        subject=EndpointRef(name, MBUS),
        holds=holds,
        observed=answer.strip('"'),
        expected="pong",
        at=at,
        by="ping",
    )


def state_fits(state: AgentState, order: Order) -> bool:
    """Say whether a state is what an order asks for."""
    material = ordered_material(order)
    bundle = material.bundle
    return (material.issuer is None or material.issuer.fingerprint == state.signer) and (
        bundle is None or tuple(certificate.fingerprint for certificate in bundle) == state.bundle
    )


def ordered_material(order: Order) -> EndpointMaterial:
    """Return what an order says of the agent."""
    for endpoint in order.endpoints:
        if endpoint.endpoint == MBUS:
            return endpoint
    return EndpointMaterial(endpoint=MBUS)
