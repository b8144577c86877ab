"""The graph that the planner searches: classes of instances, and the links between classes.

Endpoints of a group in the same state are one class; links between two classes are judged once.
So a proof costs one pass over the links and classes squared verdicts, not instances squared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from rollover.fleet.certificate import Chain, Stack
from rollover.fleet.model import Endpoint, Group, Link
from rollover.fleet.names import InstanceName
from rollover.planner.slots import Slot, Stage, Value

Vector = tuple[Value, ...]
"""What each slot of a class holds, in the order of its slots."""

Possible = tuple[Vector, ...]
"""All that a class may hold; what was observed, or delivered, comes first."""

State = tuple[Possible, ...]
"""All that every class may hold."""

Held = Mapping[int, Possible] | State
"""All that some classes, or every class, may hold."""

Choice = tuple[Stage, ...]
"""To which stage a rollout takes each slot of a group, in the order of the group's slot names."""


class Ports(msgspec.Struct, frozen=True):
    """Where an endpoint of a class finds its chain and its bundle among the class's slots."""

    chain: int | None
    bundle: int | None
    file: int | None = None
    """Where the bundle lies is a slot of its own; None: that stays."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One class: instances of a group that are in the same state.

    `frozen`: they cannot be changed or confirmed now. `states` are all the states that they may
    be in; the first is the one observed last.
    """

    index: int
    group: int
    instances: tuple[InstanceName, ...]
    endpoints: tuple[Endpoint, ...]
    ports: tuple[Ports, ...]
    slots: tuple[Slot, ...]
    states: Possible
    frozen: bool
    whys: tuple[str, ...] = ()
    """Why they cannot be changed, one for each instance."""

    @property
    def why(self) -> str:
        """Why they cannot be changed, each reason once."""
        return "; ".join(dict.fromkeys(self.whys))


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """All links between two endpoints of two classes that are judged alike.

    `same_instance`: both ends change together. `named`: whether the acceptor's leaf covers the
    name that its dialer expects, as it does with every leaf that is issued in its place.
    `misnamed`: the chain that the acceptor is given, where its leaf does not.
    """

    dialer: int
    dialer_endpoint: int
    acceptor: int
    acceptor_endpoint: int
    mutual: bool
    same_instance: bool
    named: bool
    dialer_stack: Stack
    acceptor_stack: Stack
    links: int
    example: Link
    misnamed: Chain = ()


class Feed(msgspec.Struct, frozen=True):
    """A slot of a group whose rollouts deliver what a slot of another group holds then."""

    slot: str
    group: int
    source_slot: str


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What one rollout covers: the classes of one group."""

    index: int
    group: Group
    nodes: tuple[int, ...]
    slot_names: tuple[str, ...]
    feeds: tuple[Feed, ...]
    is_source: bool


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a search needs; units, nodes and edges refer to one another by index."""

    units: tuple[Unit, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    edges_of: tuple[tuple[int, ...], ...]
    """For each unit the edges that touch one of its classes."""
    longest: timedelta
    """How long the longest rollout of any unit takes."""
    collides: bool = False
    """Whether two CAs in play share a subject: then the order inside a bundle may matter."""

    def start(self) -> tuple[Vector, ...]:
        """Return the observed state of every class."""
        return tuple(node.states[0] for node in self.nodes)

    def observed(self) -> State:
        """Return the observed state of every class as all that it may hold."""
        return tuple((node.states[0],) for node in self.nodes)

    def possible(self) -> State:
        """Return all that every class may hold."""
        return tuple(node.states for node in self.nodes)

    def arrived(self, state: Held, unit: int) -> bool:
        """Whether every slot of a unit's classes surely holds what the goal asks for."""
        return all(
            value in slot.ends
            for index in self.units[unit].nodes
            for vector in state[index]
            for value, slot in zip(vector, self.nodes[index].slots, strict=True)
        )


def edges_by_unit(
    units: Sequence[Unit], nodes: Sequence[Node], edges: Sequence[Edge]
) -> tuple[tuple[int, ...], ...]:
    """Return for each unit the indices of the edges that touch it."""
    touching: list[list[int]] = [[] for _ in units]
    for index, edge in enumerate(edges):
        for unit in sorted({nodes[edge.dialer].group, nodes[edge.acceptor].group}):
            touching[unit].append(index)
    return tuple(tuple(each) for each in touching)
