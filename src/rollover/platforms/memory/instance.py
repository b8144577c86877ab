"""One instance in memory: what it holds, who is connected to it, and how it misbehaves."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import EndpointMaterial, Seen
from rollover.fleet.model import Role
from rollover.fleet.names import EndpointName, Fingerprint

State = tuple[Seen, ...]


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
    materials: dict[EndpointName, EndpointMaterial] = {each.endpoint: each for each in ordered}
    changed = tuple(_changed(seen, materials.pop(seen.endpoint, None)) for seen in state)
    for unknown in materials:
        raise KeyError(unknown)
    return changed


def _changed(seen: Seen, material: EndpointMaterial | None) -> Seen:
    if material is None:
        return seen
    chain = (material.signer.certificate,) if material.signer else material.chain
    return msgspec.structs.replace(
        seen,
        presents=seen.presents if chain is None else chain,
        trusts=seen.trusts if material.bundle is None else material.bundle,
    )
