"""From a fleet to its classes: one pass over the instances, one over the links."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.fleet import Availability, Endpoint, EndpointRef, Fleet, Instance, Link, State
from rollover.fleet.goal import Goal
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, InstanceName
from rollover.pki.names import covers
from rollover.planner import graph
from rollover.planner.graph import (
    BundleFile,
    Edge,
    Feed,
    Graph,
    Node,
    Slot,
    SlotKind,
    SlotUse,
    Unit,
    Value,
    Vector,
    bundle_slot,
    chain_slot,
    edges_by_unit,
    file_slot,
)
from rollover.planner.safety import Knowledge


class _EdgeKey(NamedTuple):
    dialer: int
    dialer_endpoint: int
    acceptor: int
    acceptor_endpoint: int
    mutual: bool
    same_instance: bool
    named: bool
    misnamed: Chain


class _Located(NamedTuple):
    """An instance, and the class that it is in."""

    node: int
    instance: Instance


class Classifier:
    """Builds the graph of one fleet for one goal. Used once."""

    def __init__(
        self, fleet: Fleet, goal: Goal, *, knowledge: Knowledge, now: datetime, horizon: datetime
    ) -> None:
        self._fleet = fleet
        self._goal = goal
        self._chains_installed = goal.chains
        self._knowledge = knowledge
        self._now = now
        self._horizon = horizon
        self._chain_keys: dict[Chain, Hashable] = {}
        self._representatives: dict[Hashable, Chain] = {}
        self._sources = {
            endpoint.source.group
            for group in fleet.groups
            for instance in group.instances[:1]
            for endpoint in instance.endpoints
            if endpoint.source
        }
        self._positions = {group.name: index for index, group in enumerate(fleet.groups)}
        self._collides = _subject_collision(knowledge.certificates, goal)

    def graph(self) -> Graph:
        """Return the graph; KeyError when a link names an endpoint that does not exist."""
        nodes: list[Node] = []
        units: list[Unit] = []
        located: dict[InstanceName, _Located] = {}
        for position, group in enumerate(self._fleet.groups):
            alike: dict[Hashable, list[Instance]] = {}
            for described in group.instances:
                installed = self._goal.installed_on(described.name)
                instance = graph.with_own_files(described, installed)
                alike.setdefault(self._instance_key(instance), []).append(instance)
            first = len(nodes)
            for instances in alike.values():
                nodes.append(self._node(len(nodes), position, instances))
                for instance in instances:
                    located[instance.name] = _Located(nodes[-1].index, instance)
            units.append(self._unit(position, tuple(range(first, len(nodes))), nodes))
        edges = self._edges(nodes, located)
        return Graph(
            units=tuple(units),
            nodes=tuple(nodes),
            edges=edges,
            edges_of=edges_by_unit(units, nodes, edges),
            longest=max((unit.group.rollout_time for unit in units), default=timedelta()),
            collides=self._collides,
        )

    def _instance_key(self, instance: Instance) -> Hashable:
        return (
            instance.availability is Availability.READY,
            tuple(self._endpoint_key(endpoint) for endpoint in instance.endpoints),
            tuple(self._installed_key(instance)),
            tuple(
                (tuple(map(self._chain_key, state.presents)), state.trusts)
                for state in instance.may_be
            ),
        )

    def _installed_key(self, instance: Instance) -> Iterator[Hashable]:
        """Yield what the goal installs on an instance, and what that changes."""
        installed = self._goal.installed_on(instance.name)
        for endpoint in instance.endpoints if installed else ():
            part = installed.get(endpoint.name)
            yield part and (part.bundle, part.chain, part.file, endpoint.bundle_file)

    def _endpoint_key(self, endpoint: Endpoint) -> Hashable:
        return (
            endpoint.name,
            self._chain_key(endpoint.presents),
            endpoint.trusts,
            endpoint.stack,
            endpoint.chain_slot,
            endpoint.bundle_slot,
            endpoint.source,
        )

    def _chain_key(self, chain: Chain) -> Hashable:
        """Return what decides verdicts on a chain: its shape, and dates as far as they matter."""
        if not chain:
            return None
        if chain in self._chains_installed:
            # Who presents it already has arrived; who presents one that is like it has not.
            return chain
        key = self._chain_keys.get(chain)
        if key is None:
            certificates = self._knowledge.certificates
            dates = tuple(
                (
                    certificates[fingerprint].not_before
                    if certificates[fingerprint].not_before > self._now
                    else None,
                    certificates[fingerprint].not_after
                    if certificates[fingerprint].not_after <= self._horizon
                    else None,
                )
                for fingerprint in chain
            )
            key = self._chain_keys[chain] = (self._knowledge.shape(chain), dates)
            self._representatives.setdefault(key, chain)
        return key

    def _typical(self, chain: Chain) -> Chain:
        """Return one chain for all that are judged alike, so that values can be compared."""
        if not chain or chain in self._chains_installed:
            return chain
        return self._representatives[self._chain_key(chain)]

    def _node(self, index: int, group: int, instances: list[Instance]) -> Node:
        model = instances[0]
        found = tuple(graph.slot_layout(model, self._goal.installed_on(model.name)))
        slots = tuple(self._slot(place, model) for place in found)
        states = [self._vector(model, state, found) for state in (model.state, *model.may_be)]
        return Node(
            index=index,
            group=group,
            instances=tuple(instance.name for instance in instances),
            endpoints=model.endpoints,
            ports=graph.endpoint_ports(model.endpoints, found),
            slots=slots,
            states=tuple(dict.fromkeys(states)),
            frozen=model.availability is not Availability.READY,
            whys=tuple(instance.why or instance.availability.value for instance in instances),
        )

    def _slot(self, place: SlotUse, instance: Instance) -> Slot:
        endpoint = instance.endpoints[place.endpoint]
        ref = EndpointRef(instance.name, endpoint.name)
        match place.kind:
            case SlotKind.CHAIN:
                chain = self._typical(endpoint.presents)
                prospects = self._knowledge.prospect
                return chain_slot(place.slot, self._goal.presents(ref, chain, prospects))
            case SlotKind.BUNDLE:
                bundle = endpoint.trusts or ()
                course = self._goal.trusts(ref, bundle)
                return bundle_slot(place.slot, bundle, course, collides=self._collides)
            case SlotKind.FILE:
                part = self._goal.installed_on(instance.name)[endpoint.name]
                return file_slot(
                    place.slot, BundleFile(endpoint.bundle_file), BundleFile(part.file)
                )
            case never:
                assert_never(never)

    def _vector(self, instance: Instance, state: State, found: tuple[SlotUse, ...]) -> Vector:
        values: list[Value] = []
        for place in found:
            match place.kind:
                case SlotKind.CHAIN:
                    values.append(self._typical(state.presents[place.endpoint]))
                case SlotKind.BUNDLE:
                    values.append(state.trusts[place.endpoint] or ())
                case SlotKind.FILE:
                    values.append(BundleFile(instance.endpoints[place.endpoint].bundle_file))
        return tuple(values)

    def _unit(self, position: int, members: tuple[int, ...], nodes: list[Node]) -> Unit:
        group = self._fleet.groups[position]
        names: dict[str, None] = {}
        for member in members:
            names.update(dict.fromkeys(slot.name for slot in nodes[member].slots))
        return Unit(
            index=position,
            group=group,
            nodes=members,
            slot_names=tuple(names),
            feeds=self._feeds(position),
            is_source=group.name in self._sources,
        )

    def _feeds(self, position: int) -> tuple[Feed, ...]:
        feeds: dict[Feed, None] = {}
        for instance in self._fleet.groups[position].instances[:1]:
            for endpoint in instance.endpoints:
                if endpoint.source is None:
                    continue
                source = self._positions[endpoint.source.group]
                endpoints = {
                    candidate.name: candidate
                    for candidate in self._fleet.groups[source].instances[0].endpoints
                }
                origin = endpoints[endpoint.source.endpoint]
                if endpoint.presents:
                    feeds[
                        Feed(graph.chain_slot_name(endpoint), source, graph.chain_slot_name(origin))
                    ] = None
                if endpoint.trusts is not None:
                    feeds[
                        Feed(
                            graph.bundle_slot_name(endpoint), source, graph.bundle_slot_name(origin)
                        )
                    ] = None
        return tuple(feeds)

    def _edges(
        self, nodes: list[Node], located: Mapping[InstanceName, _Located]
    ) -> tuple[Edge, ...]:
        # There may be millions of links: keys are plain tuples, and each name is judged once.
        found: dict[tuple[int, int, int, int, bool, bool, bool, Chain], list[Link]] = {}
        positions = [
            {endpoint.name: at for at, endpoint in enumerate(node.endpoints)} for node in nodes
        ]
        covered: dict[tuple[Chain, str], bool] = {}
        for link in self._fleet.links:
            dialer, acceptor = link.dialer, link.acceptor
            dialing, accepting = located[dialer.instance].node, located[acceptor.instance]
            position = positions[accepting.node][acceptor.endpoint]
            named = link.name is None or self._covers(
                accepting.instance.endpoints[position].presents, link.name, covered
            )
            key = (
                dialing,
                positions[dialing][dialer.endpoint],
                accepting.node,
                position,
                link.mutual,
                dialer.instance == acceptor.instance,
                named,
                self._misnamed(link, covered) if self._chains_installed else (),
            )
            alike = found.get(key)
            if alike is None:
                found[key] = [link]
            else:
                alike.append(link)
        return tuple(
            _edge_of(_EdgeKey(*key), nodes, len(alike), alike[0]) for key, alike in found.items()
        )

    def _misnamed(self, link: Link, covered: dict[tuple[Chain, str], bool]) -> Chain:
        """Return the chain installed on the acceptor, where it does not cover the link's name."""
        part = self._goal.installed_on(link.acceptor.instance).get(link.acceptor.endpoint)
        if part is None or not part.chain or link.name is None:
            return ()
        return () if self._covers(part.chain, link.name, covered) else part.chain

    def _covers(self, chain: Chain, name: str, covered: dict[tuple[Chain, str], bool]) -> bool:
        key = (chain[:1], name)
        if key not in covered:
            names = self._knowledge.certificates[chain[0]].names if chain else ()
            covered[key] = covers(names, name)
        return covered[key]


def _edge_of(key: _EdgeKey, nodes: list[Node], count: int, example: Link) -> Edge:
    return Edge(
        dialer=key.dialer,
        dialer_endpoint=key.dialer_endpoint,
        acceptor=key.acceptor,
        acceptor_endpoint=key.acceptor_endpoint,
        mutual=key.mutual,
        same_instance=key.same_instance,
        named=key.named,
        misnamed=key.misnamed,
        dialer_stack=nodes[key.dialer].endpoints[key.dialer_endpoint].stack,
        acceptor_stack=nodes[key.acceptor].endpoints[key.acceptor_endpoint].stack,
        links=count,
        example=example,
    )


def _subject_collision(certificates: Mapping[Fingerprint, Certificate], goal: Goal) -> bool:
    """Whether two CAs in play share a subject: then the order inside a bundle may matter."""
    in_play = goal.in_play - {SYSTEM_ROOTS}
    subjects = [
        certificates[fingerprint].subject for fingerprint in in_play if fingerprint in certificates
    ]
    return len(set(subjects)) < len(subjects)
