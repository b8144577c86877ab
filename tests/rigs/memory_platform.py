"""The reference platform: a group of instances in memory, which fail on request.

Deterministic, without certificates' mathematics, with faults by name. It is the measure of the
contract (tests/contracts), and what tests of the engine run on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

import msgspec

from rollover.engine.ports import Pacing
from rollover.engine.rollout import in_window
from rollover.errors import EvidenceMissing, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, GroupDescription
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Evidence,
    Fact,
    Failed,
    Holdout,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, EndpointRef, Role
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName

State = tuple[ObservedEndpoint, ...]


class Fault(StrEnum):
    """The ways in which an instance misbehaves until it is healed."""

    REFUSES = "refuses"
    """It says no to every order, and keeps what it has."""
    UNREACHABLE = "unreachable"
    """It answers nobody."""
    SLOW = "slow"
    """It takes its time for every order."""
    LIES = "lies"
    """It takes orders, and its ports go on showing what it had when the fault began."""
    RESTARTS = "restarts"
    """It takes orders by a restart, which cuts every connection."""


class Connection(NamedTuple):
    """A live connection: who presents what. It outlives every change but a restart."""

    number: int
    peer: str
    certificate: Certificate
    issuer: Fingerprint | None
    """None: nobody knows."""
    role: Role | None = None
    """Of the endpoint that it goes through; None: nobody knows."""


class MemoryInstance:
    """State, connections and faults of one instance. Safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._lock = Lock()
        self._state = state
        self._shown: State | None = None
        self._doubts: tuple[State, ...] = ()
        self._faults: set[Fault] = set()
        self._connections: dict[int, Connection] = {}
        self._numbered = 0
        self.refused_before = False
        """It has refused an order and was not healed since."""

    def has(self, fault: Fault) -> bool:
        """Say whether it misbehaves in this way now."""
        return fault in self._faults

    def fail(self, fault: Fault) -> None:
        """Begin to misbehave."""
        with self._lock:
            self._faults.add(fault)
            if fault is Fault.LIES:
                self._shown = self._state

    def doubt(self, *states: State) -> None:
        """Let it be in any of these states as well, for all that can be seen; until it is given."""
        with self._lock:
            self._doubts = states

    @property
    def doubts(self) -> tuple[State, ...]:
        """The further states that it may be in, as far as anybody can see."""
        return self._doubts

    def heal(self) -> None:
        """Stop misbehaving altogether."""
        with self._lock:
            self._faults.clear()
            self._shown = None
            self.refused_before = False

    @property
    def state(self) -> State:
        """What it holds in truth."""
        return self._state

    @property
    def shown(self) -> State:
        """What its ports show."""
        return self._state if self._shown is None else self._shown

    def give(self, state: State) -> None:
        """Let it hold something else; a restart cuts its connections."""
        with self._lock:
            self._state = state
            self._doubts = ()
            if Fault.RESTARTS in self._faults:
                self._connections.clear()

    def connect(
        self,
        peer: str,
        certificate: Certificate,
        issuer: Fingerprint | None,
        *,
        role: Role | None = None,
    ) -> Connection:
        """Open a connection to it."""
        with self._lock:
            self._numbered += 1
            made = Connection(self._numbered, peer, certificate, issuer, role)
            self._connections[made.number] = made
            return made

    def disconnect(self, number: int) -> bool:
        """Cut a connection; False when there is none of that number."""
        with self._lock:
            return self._connections.pop(number, None) is not None

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are open, oldest first."""
        with self._lock:
            return tuple(self._connections.values())


def after(state: State, ordered: Iterable[EndpointMaterial]) -> State:
    """Return the state that an order leads to; KeyError names an endpoint that is not there.

    A source that is given a signer presents that CA from then on.
    """
    materials: dict[EndpointName, EndpointMaterial] = {
        material.endpoint: material for material in ordered
    }
    changed = tuple(_changed(seen, materials.pop(seen.endpoint, None)) for seen in state)
    for unknown in materials:
        raise KeyError(unknown)
    return changed


def _changed(seen: ObservedEndpoint, material: EndpointMaterial | None) -> ObservedEndpoint:
    if material is None:
        return seen
    chain = (material.signer.certificate,) if material.signer else material.chain
    return msgspec.structs.replace(
        seen,
        presents=seen.presents if chain is None else chain,
        trusts=seen.trusts if material.bundle is None else material.bundle,
    )


Issue = Callable[[Certificate, InstanceName], Certificate]
"""Makes a leaf of a CA for an instance."""


class MemorySource(NamedTuple):
    """Hands out chains of the CA that it signs with, and its bundle, as they are at that moment."""

    held: Callable[[], ObservedEndpoint]
    issue: Issue

    def deliver(self, name: InstanceName, ordered: EndpointMaterial) -> EndpointMaterial:
        """Return what an instance gets; ValueError when that is not what was ordered.

        Whatever was ordered, a source delivers all that it holds.
        """
        held = self.held()
        (signer,) = held.presents
        if ordered.issuer not in (None, signer):
            message = f"its source signs with {signer.subject}, not as ordered"
            raise ValueError(message)
        if ordered.bundle not in (None, held.trusts):
            message = "its source hands out another bundle than was ordered"
            raise ValueError(message)
        chain = (self.issue(signer, name),)
        return EndpointMaterial(endpoint=ordered.endpoint, chain=chain, bundle=held.trusts)


BY = "memory"


class MemoryPlatform:
    """A group of instances in memory. `wait` is told every second that passes.

    An endpoint lets an identity in when the identity's issuer is in its bundle. `source` feeds
    the endpoints that are described with one.
    """

    def __init__(
        self,
        group: GroupDescription,
        states: Mapping[InstanceName, State],
        *,
        clock: Callable[[], datetime],
        wait: Callable[[float], None] = lambda _: None,
        slow_seconds: float = 60.0,
        source: MemorySource | None = None,
    ) -> None:
        self.group = group
        self._clock = clock
        self._wait = wait
        self._slow_seconds = slow_seconds
        self._source = source
        self._described = {description.name: description for description in group.instances}
        self._instances = {
            description.name: MemoryInstance(states[description.name])
            for description in group.instances
        }

    # What a rehearsal does to it.

    def instance(self, name: InstanceName) -> MemoryInstance:
        """Return an instance, to look into it or to let it misbehave."""
        if name not in self._instances:
            raise SpecError(
                f"group `{self.group.name}` has no instance `{name}`",
                hint="name it in the fleet file",
            )
        return self._instances[name]

    # What the engine does with it.

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each instance shows, or, if it answers nobody, what it held last."""
        for name in instances:
            availability, why = self._availability(name)
            found = self.instance(name)
            unreachable = availability is Availability.UNREACHABLE
            yield Observation(
                instance=name,
                at=self._clock(),
                availability=availability,
                why=why,
                endpoints=found.state if unreachable else found.shown,
                may_use=found.doubts,
            )

    def _availability(self, name: InstanceName) -> tuple[Availability, str]:
        found, ignored = self.instance(name), self._described[name].ignored
        if ignored:
            return Availability.IGNORED, f"ignored: {ignored}"
        if found.has(Fault.UNREACHABLE):
            return Availability.UNREACHABLE, "it does not answer"
        if found.refused_before:
            return Availability.REFUSING, "it refused what it was given"
        return Availability.READY, ""

    def renamed_by_hand(self) -> str:
        """Return what a person would do, if instances in memory had settings."""
        return "describe the instances of this rehearsal with the new file"

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Give each instance its order, and take it back when it does not show it."""
        return in_window(self._bring, orders, pacing=pacing, stopping=stopping)

    def _bring(self, order: Order) -> Result:
        try:
            found = self.instance(order.instance)
            wanted = after(found.state, self._delivered(order))
        except (SpecError, KeyError) as error:
            return _failed(order, SpecError.code, f"there is no such endpoint: {error}")
        except ValueError as error:
            return _failed(order, "verification", str(error))
        if found.has(Fault.UNREACHABLE):
            return _failed(order, "unreachable", "it does not answer")
        seconds = self._slow_seconds if found.has(Fault.SLOW) else self.group.seconds_per_instance
        self._wait(seconds)
        if found.has(Fault.REFUSES):
            found.refused_before = True
            return _failed(order, "rejected", "it refused what it was given", seconds=seconds)
        before = found.state
        found.give(wanted)
        if found.shown != wanted:
            found.give(before)
            return _failed(order, "verification", "it shows what it had before", seconds=seconds)
        return Applied(
            instance=order.instance,
            seconds=seconds,
            evidence=tuple(
                self._presents(order.instance, seen)
                for seen in wanted
                if seen.endpoint in {endpoint.endpoint for endpoint in order.endpoints}
            ),
            reload_seconds=seconds,
        )

    def _delivered(self, order: Order) -> tuple[EndpointMaterial, ...]:
        """Return what comes of an order: a source makes what it feeds itself."""
        if any(endpoint.bundle_file is not None for endpoint in order.endpoints):
            raise ValueError("it has no configuration to be re-pointed")
        fed = self._endpoints(order.instance, lambda each: each.source is not None)
        source = self._source
        if source is None:
            return order.endpoints
        return tuple(
            source.deliver(order.instance, endpoint) if endpoint.endpoint in fed else endpoint
            for endpoint in order.endpoints
        )

    def _endpoints(
        self, name: InstanceName, chosen: Callable[[EndpointDescription], bool]
    ) -> set[EndpointName]:
        return {endpoint.name for endpoint in self._described[name].endpoints if chosen(endpoint)}

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Yield what every endpoint shows, and whom it lets in."""
        for name in instances:
            found = self.instance(name)
            silent = found.has(Fault.UNREACHABLE)
            sources = self._endpoints(name, lambda each: each.role is Role.SOURCE)
            for seen in found.shown:
                if seen.endpoint in sources:
                    continue  # nobody can dial it
                yield self._presents(name, seen, silent=silent)
                if seen.trusts is None:
                    continue
                trusted = frozenset(one.fingerprint for one in seen.trusts)
                for identity in accepted:
                    lets_in = identity.issuer in trusted and not silent
                    yield self._answer(Fact.ACCEPTS, name, seen, identity, holds=lets_in)
                for identity in refused:
                    turns_away = identity.issuer not in trusted and not silent
                    yield self._answer(Fact.REFUSES, name, seen, identity, holds=turns_away)

    def _presents(
        self, name: InstanceName, seen: ObservedEndpoint, *, silent: bool = False
    ) -> Evidence:
        leaf = seen.presents[0].fingerprint if seen.presents else ""
        return Evidence(
            fact=Fact.PRESENTS,
            subject=EndpointRef(name, seen.endpoint),
            holds=not silent,
            observed="it does not answer" if silent else leaf,
            at=self._clock(),
            by=BY,
        )

    def _answer(
        self,
        fact: Fact,
        name: InstanceName,
        seen: ObservedEndpoint,
        identity: Identity,
        *,
        holds: bool,
    ) -> Evidence:
        return Evidence(
            fact=fact,
            subject=EndpointRef(name, seen.endpoint),
            holds=holds,
            observed="as expected" if holds else "otherwise",
            expected=f"{fact} {identity.label}",
            at=self._clock(),
            by=BY,
        )

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Yield the connections whose issuer is retired or unknown."""
        by_fingerprint = {one.fingerprint: one for one in retired}
        for name in instances:
            found = self.instance(name)
            if found.has(Fault.UNREACHABLE):
                raise EvidenceMissing(
                    f"the connections of `{name}` cannot be listed: it does not answer",
                    hint="make it answer, or leave it out of the fleet file",
                )
            for connection in found.connections:
                if connection.issuer is None or connection.issuer in by_fingerprint:
                    yield _holdout(name, connection, by_fingerprint)

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Cut connections; their peers come again by themselves, if somebody makes them."""
        for holdout in holdouts:
            found = self.instance(holdout.server)
            there = found.disconnect(holdout.connection)
            yield Evidence(
                fact=Fact.DRAINED,
                subject=EndpointRef(holdout.server, found.state[0].endpoint),
                holds=True,
                observed=f"connection {holdout.connection} of `{holdout.peer}`: "
                f"{'cut' if there else 'gone already'}",
                at=self._clock(),
                by=BY,
            )


def _failed(order: Order, code: str, message: str, *, seconds: float = 0.0) -> Failed:
    return Failed(
        instance=order.instance,
        seconds=seconds,
        code=code,
        message=f"`{order.instance}`: {message}",
        restored=True,
    )


def _holdout(
    name: InstanceName, connection: Connection, retired: Mapping[Fingerprint, Certificate]
) -> Holdout:
    issuer = "" if connection.issuer is None else retired[connection.issuer].subject
    return Holdout(
        server=name,
        connection=connection.number,
        peer=connection.peer,
        certificate=connection.certificate.fingerprint,
        issuer_name=issuer,
        role=connection.role,
    )
