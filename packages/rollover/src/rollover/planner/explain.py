"""From a breakage to words: the rule, one witness link, and what would lift the refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollover.fleet.certificate import FaultKind
from rollover.fleet.names import GroupName, RuleId
from rollover.fleet.plan import Side, Violation, Witness
from rollover.planner.graph import Edge, Graph, Node, Possible
from rollover.planner.safety import Broken

TRUST_BEFORE_USE = RuleId("trust-before-use")
REISSUE_BEFORE_WITHDRAW = RuleId("reissue-before-withdraw")
VALIDITY_WINDOW = RuleId("validity-window")
LEFT_BEHIND = RuleId("left-behind")
LINK_BREAKS = RuleId("link-breaks")
NO_SAFE_PLAN = RuleId("no-safe-plan")

MOST_NAMED = 5
"""Instances in a message: as many as a line takes."""

_DATED = {FaultKind.EXPIRED, FaultKind.NOT_YET_VALID}


def violation(graph: Graph, broken: Broken) -> Violation:
    """Return why a step is refused, by the kind of its breakage."""
    edge = graph.edges[broken.edge]
    seen = witness(graph, broken)
    rule = _rule(graph, broken)
    reasons = "; ".join(dict.fromkeys(fault.detail for fault in seen.faults))
    link = f"{seen.dialer} → {seen.acceptor}"
    message = (
        f"{link}: {seen.refused_by} would refuse its peer ({reasons}) while "
        f"{seen.dialer.instance} is {_word(broken.dialer_side)} and "
        f"{seen.acceptor.instance} is {_word(broken.acceptor_side)}"
    )
    return Violation(rule=rule, message=message, lift=_lift(graph, edge, rule), witness=seen)


def witness(graph: Graph, broken: Broken) -> Witness:
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
        frozen = [node for node in (graph.nodes[each] for each in ends) if node.frozen]
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


def left_behind(graph: Graph, last: Sequence[Possible]) -> Iterator[Violation]:
    """Yield one violation for each class that is not at the goal after the last step."""
    for node in graph.nodes:
        if all(_arrived(node, state) for state in last[node.index]):
            continue
        names = ", ".join(f"`{name}`" for name in node.instances[:MOST_NAMED])
        beyond = len(node.instances) - MOST_NAMED
        more = f" and {beyond} more" if beyond > 0 else ""
        yield Violation(
            rule=LEFT_BEHIND,
            message=f"{names}{more} would be left behind: {node.why}",
            lift="bring it back and run again; the plan goes on from there",
        )


def cut_off(source: Node, group: GroupName) -> Violation:
    """Return why a group cannot be rolled out while its source cannot be changed."""
    return Violation(
        rule=LEFT_BEHIND,
        message=f"`{group}` gets its material from `{source.instances[0]}`, which is out of reach: "
        f"{source.why}",
        lift="bring it back and run again; the plan goes on from there",
    )


def _arrived(node: Node, state: Sequence[object]) -> bool:
    return all(value in slot.ends for value, slot in zip(state, node.slots, strict=True))
