"""The graph that the planner searches: slots that hold material, classes of instances, their links.

Endpoints of a group in the same state are one class; links between two classes are judged once.
So a proof costs one pass over the links and classes squared verdicts, not instances squared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum, IntEnum, auto
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Bundle, Chain, Stack
from rollover.fleet.fleet import Endpoint, Group, Instance, Link
from rollover.fleet.goal import BundleCourse, ChainCourse, Installation
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName, SlotName

# Slots hold material; a rotation takes each of them through stages.


class BundleFile(msgspec.Struct, frozen=True):
    """Where a bundle lies; None: nobody says so."""

    path: str | None


Value = Chain | Bundle | BundleFile
"""What a slot may hold."""


def certificates_of(value: Value) -> tuple[Fingerprint, ...]:
    """Return the certificates of a chain, or of a bundle; where a bundle lies has none."""
    return () if isinstance(value, BundleFile) else value


class Stage(IntEnum):
    """How far a slot is. A later stage never makes a later rollout harder."""

    KEEP = 0
    MEANWHILE = 1
    """Both trusted, in the old order; a chain with its bridge."""
    TURNED = 2
    """Both trusted, the new first: some OpenSSL peers try only the first of two equal names."""
    END = 3


class Slot(msgspec.Struct, frozen=True):
    """One slot of a class: its values by stage. A stage that it does not have is absent.

    `ends` are the values that count as having arrived. `marks` say of each value what it has in
    common with material of the same origin in other slots: what a source holds is recognised by it.
    """

    name: str
    is_chain: bool
    values: tuple[tuple[Stage, Value], ...]
    ends: frozenset[Value]
    marks: tuple[Hashable, ...]

    @property
    def moves(self) -> bool:
        """Whether the goal asks for anything else than what the slot holds."""
        return len(self.values) > 1

    def stage(self, value: Value) -> Stage:
        """Return the furthest stage at which the slot holds a value; KEEP for any foreign value."""
        return max((stage for stage, held in self.values if held == value), default=Stage.KEEP)

    def raised(self, value: Value, wanted: Stage) -> Value:
        """Return what a rollout towards a stage leaves: the furthest up to it, never less."""
        now = self.stage(value)
        further = [held for stage, held in self.values if now < stage <= wanted]
        return further[-1] if further else value

    def mark(self, value: Value) -> Hashable:
        """Return the mark of a value; None for a foreign one."""
        for (_, held), mark in zip(self.values, self.marks, strict=True):
            if held == value:
                return mark
        return None

    def marked(self, mark: Hashable) -> Stage:
        """Return the furthest stage whose value bears a mark; KEEP when none does."""
        return max(
            (
                stage
                for (stage, _), known in zip(self.values, self.marks, strict=True)
                if mark is not None and known == mark
            ),
            default=Stage.KEEP,
        )


def fixed_slot(name: str, value: Value, *, is_chain: bool, mark: Hashable) -> Slot:
    """Return a slot that keeps its value throughout."""
    return Slot(name, is_chain, ((Stage.KEEP, value),), frozenset((value,)), (mark,))


_CHAIN_STAGES = {
    1: (Stage.KEEP,),
    2: (Stage.KEEP, Stage.END),
    3: (Stage.KEEP, Stage.MEANWHILE, Stage.END),
}
"""The stages of a course, by the number of its chains."""


def chain_slot(name: str, course: ChainCourse) -> Slot:
    """Return the slot of a chain that goes through a course."""
    stages = _CHAIN_STAGES[len(course.chains)]
    values = tuple(zip(stages, course.chains, strict=True))
    return Slot(name, True, values, frozenset(course.arrived), course.origins)


def bundle_slot(name: str, bundle: Bundle, course: BundleCourse, *, collides: bool) -> Slot:
    """Return the stages of a bundle: as it is, both trusted where that helps, the goal's."""
    values: tuple[tuple[Stage, Bundle], ...]
    if course.joined:
        values = _bundle_stages(bundle, course.end, collides=collides)
    elif bundle == course.end:
        values = ((Stage.KEEP, bundle),)
    else:
        values = ((Stage.KEEP, bundle), (Stage.END, course.end))
    if not course.versions:
        marks: tuple[Hashable, ...] = tuple(frozenset(held) for _, held in values)
    else:
        marks = tuple(_bundle_mark(held, course.versions, in_order=collides) for _, held in values)
    return Slot(name, False, values, frozenset((course.end,)), marks)


def file_slot(name: str, now: BundleFile, wanted: BundleFile) -> Slot:
    """Return the stages of where a bundle lies: as it is, and where it is to lie."""
    if now == wanted:
        return fixed_slot(name, now, is_chain=False, mark=now)
    values = ((Stage.KEEP, now), (Stage.END, wanted))
    return Slot(name, False, values, frozenset((wanted,)), (now, wanted))


def _bundle_mark(bundle: Bundle, of_authority: Iterable[str], *, in_order: bool) -> Hashable:
    """Return the authority's versions in a bundle; their order counts where it can matter."""
    held = tuple(ca for ca in bundle if ca in of_authority)
    return held if in_order else frozenset(held)


def return_slot(slot: Slot, start: Value, end: Value, *, collides: bool) -> Slot:
    """Return the slot that leads from one value of a slot to another: how a rollback is planned."""
    if start == end:
        return fixed_slot(slot.name, start, is_chain=slot.is_chain, mark=slot.mark(start))
    if slot.is_chain or isinstance(start, BundleFile) or isinstance(end, BundleFile):
        values: tuple[tuple[Stage, Value], ...] = ((Stage.KEEP, start), (Stage.END, end))
    else:
        values = _bundle_stages(start, end, collides=collides)
    both: Hashable = None
    one, other = slot.mark(start), slot.mark(end)
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        both = one | other
    marks = tuple(both if held not in (start, end) else slot.mark(held) for _, held in values)
    return Slot(slot.name, slot.is_chain, values, frozenset((end,)), marks)


def _bundle_stages(
    start: Bundle, end: Bundle, *, collides: bool
) -> tuple[tuple[Stage, Bundle], ...]:
    if start == end:
        return ((Stage.KEEP, start),)
    stages = [(Stage.KEEP, start)]
    both, turned = joined_bundle(start, end), joined_bundle(end, start)
    if both not in (start, end):
        stages.append((Stage.MEANWHILE, both))
    if collides and turned not in (start, end, both):
        stages.append((Stage.TURNED, turned))
    return (*stages, (Stage.END, end))


def joined_bundle(first: Bundle, second: Bundle) -> Bundle:
    """Return the first bundle, then what the second adds: order kept, nothing twice."""
    return tuple(dict.fromkeys((*first, *second)))


# Classes of instances, and the links between classes.

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
    return tuple(map(tuple, touching))


# Which slots an instance has, and which endpoint uses which.

Installed = Mapping[EndpointName, Installation]
"""What the goal installs as it is on the endpoints of one instance."""


class SlotKind(Enum):
    """What a slot holds."""

    CHAIN = auto()
    BUNDLE = auto()
    FILE = auto()
    """Where a bundle lies."""


class SlotUse(NamedTuple):
    """Where a slot of an instance is first named: which endpoint, and which part of it."""

    slot: str
    kind: SlotKind
    endpoint: int


def chain_slot_name(endpoint: Endpoint) -> str:
    """Return what the slot of an endpoint's chain is called."""
    return endpoint.chain_slot or f"{endpoint.name}:chain"


def bundle_slot_name(endpoint: Endpoint) -> str:
    """Return what the slot of an endpoint's bundle is called."""
    return endpoint.bundle_slot or f"{endpoint.name}:bundle"


def file_slot_name(endpoint: Endpoint) -> str:
    """Return what the slot is called that says where a bundle lies."""
    return f"{bundle_slot_name(endpoint)}:file"


def endpoint_ports(
    endpoints: tuple[Endpoint, ...], found: tuple[SlotUse, ...]
) -> tuple[Ports, ...]:
    """Return where each endpoint finds its part among the slots."""
    order = {place.slot: index for index, place in enumerate(found)}
    return tuple(
        Ports(
            order[chain_slot_name(endpoint)] if endpoint.presents else None,
            order[bundle_slot_name(endpoint)] if endpoint.trusts is not None else None,
            order.get(file_slot_name(endpoint)),
        )
        for endpoint in endpoints
    )


def slot_layout(instance: Instance, installed: Installed) -> Iterator[SlotUse]:
    """Yield each slot of an instance once, where it is named first."""
    seen: set[str] = set()
    for position, endpoint in enumerate(instance.endpoints):
        moves = endpoint.name in installed and installed[endpoint.name].file is not None
        for name, kind, there in (
            (chain_slot_name(endpoint), SlotKind.CHAIN, bool(endpoint.presents)),
            (bundle_slot_name(endpoint), SlotKind.BUNDLE, endpoint.trusts is not None),
            (file_slot_name(endpoint), SlotKind.FILE, moves),
        ):
            if there and name not in seen:
                seen.add(name)
                yield SlotUse(name, kind, position)


def with_own_files(instance: Instance, installed: Installed) -> Instance:
    """Return an instance whose bundles that get a file of their own have slots of their own."""

    def own(endpoint: Endpoint) -> Endpoint:
        if endpoint.name not in installed or installed[endpoint.name].file is None:
            return endpoint
        slot = SlotName(f"{bundle_slot_name(endpoint)}@{installed[endpoint.name].file}")
        return msgspec.structs.replace(endpoint, bundle_slot=slot)

    endpoints = tuple(map(own, instance.endpoints))
    return msgspec.structs.replace(instance, endpoints=endpoints) if installed else instance
