"""Why a step is refused, what lifts it, and what an operator must know besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import assert_never

import msgspec

from rollover.fleet.certificate import Bundle, Chain, FaultKind, Question, Stack, Usage
from rollover.fleet.fleet import EndpointRef, Fleet, Role, Touch
from rollover.fleet.goal import Goal, InstallMaterial, RotateAuthority
from rollover.fleet.names import GroupName, RuleId
from rollover.fleet.plan import BrokenLink, Caution, Side, Violation, Witness
from rollover.planner.graph import Edge, Graph, Node, Possible, Vector, certificates_of
from rollover.planner.safety import Broken, Judge, Knowledge, Refusal

# Refusals.

TRUST_BEFORE_USE = RuleId("trust-before-use")
REISSUE_BEFORE_WITHDRAW = RuleId("reissue-before-withdraw")
VALIDITY_WINDOW = RuleId("validity-window")
LEFT_BEHIND = RuleId("left-behind")
LINK_BREAKS = RuleId("link-breaks")
NO_SAFE_PLAN = RuleId("no-safe-plan")

MOST_NAMED = 5
"""Instances in a message: as many as a line takes."""

_DATED = {FaultKind.EXPIRED, FaultKind.NOT_YET_VALID}


def violation_of(graph: Graph, broken: Broken) -> Violation:
    """Return why a step is refused, by the kind of its breakage."""
    edge = graph.edges[broken.edge]
    seen = witness_of(graph, broken)
    rule = _rule(graph, broken)
    reasons = "; ".join(dict.fromkeys(fault.detail for fault in seen.faults))
    link = f"{seen.dialer} → {seen.acceptor}"
    message = (
        f"{link}: {seen.refused_by} would refuse its peer ({reasons}) while "
        f"{seen.dialer.instance} is {_word(broken.dialer_side)} and "
        f"{seen.acceptor.instance} is {_word(broken.acceptor_side)}"
    )
    return Violation(rule=rule, message=message, lift=_lift(graph, edge, rule), witness=seen)


def witness_of(graph: Graph, broken: Broken) -> Witness:
    """Return the link that stands for all of its classes."""
    edge = graph.edges[broken.edge]
    link = edge.example
    return Witness(
        dialer=link.dialer,
        acceptor=link.acceptor,
        dialer_side=broken.dialer_side,
        acceptor_side=broken.acceptor_side,
        refused_by=link.dialer if broken.refusal.by_dialer else link.acceptor,
        faults=broken.refusal.faults,
        instant=broken.instant,
        links=edge.links,
    )


def _word(side: Side) -> str:
    return "changed" if side is Side.AFTER else "unchanged"


def _rule(graph: Graph, broken: Broken) -> RuleId:
    edge = graph.edges[broken.edge]
    if graph.nodes[edge.dialer].frozen or graph.nodes[edge.acceptor].frozen:
        return LEFT_BEHIND
    if broken.lapses or any(fault.kind in _DATED for fault in broken.refusal.faults):
        return VALIDITY_WINDOW
    verifier, presenter = broken.dialer_side, broken.acceptor_side
    if not broken.refusal.by_dialer:
        verifier, presenter = presenter, verifier
    if (verifier, presenter) == (Side.BEFORE, Side.AFTER):
        return TRUST_BEFORE_USE
    if (verifier, presenter) == (Side.AFTER, Side.BEFORE):
        return REISSUE_BEFORE_WITHDRAW
    return LINK_BREAKS


def _lift(graph: Graph, edge: Edge, rule: RuleId) -> str:
    if rule == LEFT_BEHIND:
        ends = dict.fromkeys((edge.dialer, edge.acceptor))
        frozen = [node for node in (graph.nodes[end] for end in ends) if node.frozen]
        names = [
            f"`{name}` ({why})"
            for node in frozen
            for name, why in zip(node.instances, node.whys, strict=True)
        ]
        more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
        said = " and ".join((*names[:MOST_NAMED], *more))
        them = "it" if len(names) == 1 else "them"
        return f"bring {said} back, or take {them} out of the fleet"
    return _LIFTS[rule]


_LIFTS = {
    TRUST_BEFORE_USE: "roll the new CA out as trusted to the refusing side first",
    REISSUE_BEFORE_WITHDRAW: "reissue the peer's certificate from the new CA first",
    VALIDITY_WINDOW: (
        "shorten the step (more in flight, a smaller margin), or renew the certificate first"
    ),
    LINK_BREAKS: "see the reasons above; `rollover check` looks at each certificate",
}


def left_behind_violations(graph: Graph, last: Sequence[Possible]) -> Iterator[Violation]:
    """Yield one violation for each class that is not at the goal after the last step."""
    for node in graph.nodes:
        ends = [slot.ends for slot in node.slots]
        if all(
            value in slot_ends
            for state in last[node.index]
            for value, slot_ends in zip(state, ends, strict=True)
        ):
            continue
        names = ", ".join(f"`{name}`" for name in node.instances[:MOST_NAMED])
        beyond = len(node.instances) - MOST_NAMED
        more = f" and {beyond} more" if beyond > 0 else ""
        yield Violation(
            rule=LEFT_BEHIND,
            message=f"{names}{more} would be left behind: {node.why}",
            lift="bring it back and run again; the plan goes on from there",
        )


def cut_off_violation(source: Node, group: GroupName) -> Violation:
    """Return why a group cannot be rolled out while its source cannot be changed."""
    return Violation(
        rule=LEFT_BEHIND,
        message=f"`{group}` gets its material from `{source.instances[0]}`, which is out of reach: "
        f"{source.why}",
        lift="bring it back and run again; the plan goes on from there",
    )


# What lifts refusals where material is supplied.

_GATEWAYS = frozenset((Role.GATEWAY, Role.GATEWAY_REMOTE))

_MATERIAL_LIFTS = {
    TRUST_BEFORE_USE: (
        "give the refusing side a bundle that holds the CA of the new chain first "
        "(`rollover rotate --bundle FILE`), then renew"
    ),
    REISSUE_BEFORE_WITHDRAW: (
        "keep trusting the CAs that peers come from: a curated bundle with all of them, not the "
        "issuer's own `ca.pem`"
    ),
}


def with_lifts(fleet: Fleet, goal: Goal, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return violations with what lifts them on the way to a goal, the gravest first."""
    match goal:
        case RotateAuthority():
            return tuple(violations)
        case InstallMaterial():
            return _of_material(fleet, violations)
        case never:
            assert_never(never)


def _of_material(fleet: Fleet, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return violations with what lifts them where nothing is issued, those of gateways first.

    A cluster that is cut off by its gateways looks healthy from within.
    """
    roles = {
        EndpointRef(instance.name, endpoint.name): endpoint.role
        for instance in fleet.instances()
        for endpoint in instance.endpoints
    }

    def spares_gateways(violation: Violation) -> bool:
        seen = violation.witness
        return seen is None or not _GATEWAYS & {roles[seen.dialer], roles[seen.acceptor]}

    lifted = (
        msgspec.structs.replace(violation, lift=_MATERIAL_LIFTS.get(violation.rule, violation.lift))
        for violation in violations
    )
    return tuple(sorted(lifted, key=spares_gateways))


# Cautions: what an operator has to know of a plan that is safe all the same.

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
            yield BrokenLink(witness=_current_witness(graph, index, refusal, now), links=edge.links)


def _current_witness(graph: Graph, index: int, refusal: Refusal, now: datetime) -> Witness:
    return witness_of(
        graph,
        Broken(
            edge=index,
            dialer_side=Side.BEFORE,
            acceptor_side=Side.BEFORE,
            refusal=refusal,
            instant=now,
        ),
    )


def plan_cautions(
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
                remedy="use `nats_rotating_client` in them, or expect one reconnect in each "
                "rollout that changes their certificate",
            )
    unverified = [
        edge
        for edge in graph.edges
        if graph.nodes[edge.dialer].ports[edge.dialer_endpoint].bundle is None
    ]
    if unverified:
        link = unverified[0].example
        yield Caution(
            rule=UNVERIFIED,
            message=f"{sum(edge.links for edge in unverified)} links are not verified by their "
            f"dialer (for example {link}): they cannot break, and prove nothing",
        )


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
