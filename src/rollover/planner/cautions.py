"""What an operator has to know of a plan that is safe all the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rollover.fleet.certificate import Bundle, Chain, Question, Stack, Usage
from rollover.fleet.model import EndpointRef, Fleet, Role, Touch
from rollover.fleet.names import RuleId
from rollover.fleet.plan import BrokenLink, Caution, Side, Witness
from rollover.planner.explain import witness
from rollover.planner.graph import Edge, Graph, Vector
from rollover.planner.knowledge import Knowledge
from rollover.planner.safety import Broken, Judge, Refusal
from rollover.planner.slots import certificates_of

STACKS_DISAGREE = RuleId("stacks-disagree")
BROKEN_NOW = RuleId("broken-now")
RECONNECTS = RuleId("reconnects")
UNVERIFIED = RuleId("unverified-link")

_SERVERS_THAT_DIAL = frozenset((Role.ROUTE, Role.GATEWAY, Role.GATEWAY_REMOTE, Role.LEAF_REMOTE))
"""Parties of a nats-server: they run on Go whatever a fleet file says of others."""


def broken_now(graph: Graph, judge: Judge, now: datetime) -> Iterator[BrokenLink]:
    """Yield the links that do not work before the first step: the rule cannot protect those."""
    start = graph.start()
    for index, edge in enumerate(graph.edges):
        refusal = judge.link(edge, start[edge.dialer], start[edge.acceptor], now)
        if refusal is not None:
            yield BrokenLink(witness=_seen(graph, index, refusal, now), links=edge.links)


def _seen(graph: Graph, index: int, refusal: Refusal, now: datetime) -> Witness:
    return witness(
        graph,
        Broken(
            edge=index,
            dialer_side=Side.BEFORE,
            acceptor_side=Side.BEFORE,
            refusal=refusal,
            instant=now,
        ),
    )


def cautions(
    fleet: Fleet, graph: Graph, knowledge: Knowledge, now: datetime, last: tuple[Vector, ...]
) -> Iterator[Caution]:
    """Yield what may surprise: stacks that judge differently, dear touches, links not verified."""
    yield from _disagreements(fleet, graph, knowledge, now, last)
    for group in fleet.groups:
        if group.touch is Touch.RECONNECT:
            yield Caution(
                rule=RECONNECTS,
                message=f"the {len(group.instances)} instances of `{group.name}` take up new "
                "certificates only at a reconnect",
                remedy="use `rollover.clients` in them, or expect one reconnect in each rollout "
                "that changes their certificate",
            )
    unverified = [edge for edge in graph.edges if _unverified(graph, edge)]
    if unverified:
        link = unverified[0].example
        yield Caution(
            rule=UNVERIFIED,
            message=f"{sum(edge.links for edge in unverified)} links are not verified by their "
            f"dialer (for example {link}): they cannot break, and prove nothing",
        )


def _unverified(graph: Graph, edge: Edge) -> bool:
    return graph.nodes[edge.dialer].ports[edge.dialer_endpoint].bundle is None


def _disagreements(
    fleet: Fleet, graph: Graph, knowledge: Knowledge, now: datetime, last: tuple[Vector, ...]
) -> Iterator[Caution]:
    """Yield the links on which the other TLS stack would answer otherwise, now or in the end.

    Only where the dialer could run on either: a client in any language, not a nats-server.
    """
    servers = {
        EndpointRef(instance.name, endpoint.name)
        for instance in fleet.instances()
        for endpoint in instance.endpoints
        if endpoint.role in _SERVERS_THAT_DIAL
    }
    told: set[tuple[object, ...]] = set()
    for state in (graph.start(), last):
        for edge in graph.edges:
            dials = graph.nodes[edge.dialer].ports[edge.dialer_endpoint]
            accepts = graph.nodes[edge.acceptor].ports[edge.acceptor_endpoint]
            if accepts.chain is None or dials.bundle is None or edge.example.dialer in servers:
                continue
            chain = certificates_of(state[edge.acceptor][accepts.chain])
            bundle = certificates_of(state[edge.dialer][dials.bundle])
            if chain and (chain, bundle) not in told:
                told.add((chain, bundle))
                yield from _disagreement(edge, knowledge, chain, bundle, now)


def _disagreement(
    edge: Edge, knowledge: Knowledge, chain: Chain, bundle: Bundle, now: datetime
) -> Iterator[Caution]:
    answers = [
        knowledge.accepts(
            Question(chain=chain, bundle=bundle, instant=now, usage=Usage.SERVER, stack=stack)
        )
        for stack in (Stack.GO, Stack.OPENSSL)
    ]
    if answers[0].accepted != answers[1].accepted:
        refusing = "OpenSSL" if answers[0].accepted else "Go"
        faults = answers[0].faults or answers[1].faults
        yield Caution(
            rule=STACKS_DISAGREE,
            message=f"{edge.example}: a dialer on {refusing} would refuse what another "
            f"accepts ({faults[0].detail})",
            remedy="give both CAs key identifiers and subjects of their own",
        )
