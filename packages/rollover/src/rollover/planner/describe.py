"""From proven steps to the rollouts of a plan, in the words of the authority's versions."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.fleet.fleet import Fleet, Role, Touch
from rollover.fleet.goal import Goal
from rollover.fleet.names import Fingerprint, short
from rollover.fleet.plan import Assignment, Change, Phase, Rollout
from rollover.planner.graph import BundleFile, Graph, Node, Possible, Value, Vector, certificates_of
from rollover.planner.prove import Proven
from rollover.planner.safety import Knowledge


class Describer:
    """Names what steps do. It decides nothing."""

    def __init__(self, fleet: Fleet, goal: Goal, knowledge: Knowledge) -> None:
        self._goal = goal
        self._knowledge = knowledge
        self._labels = {
            version: authority.label(version)
            for authority in fleet.authorities
            for version in authority.versions
        }
        self._authority = set(self._labels)

    def rollout(self, graph: Graph, number: int, proven: Proven) -> Rollout:
        """Return a proven step as a rollout."""
        group = graph.units[proven.step.unit].group
        nodes = [graph.nodes[index] for index in proven.after]
        changes = tuple(dict.fromkeys(self._changes(graph, proven)))
        return Rollout(
            number=number,
            group=group.name,
            phases=_in_order(self._phases(graph, proven)),
            changes=changes,
            assignments=tuple(_assignment(node, proven.after[node.index]) for node in nodes),
            touch=group.touch,
            weight=group.rollout_weight,
            instances=sum(len(node.instances) for node in nodes),
            waves=group.waves,
            duration=group.rollout_time,
            proof=proven.proof,
            notices=tuple(_notices(group.touch, changes)),
        )

    def _changes(self, graph: Graph, proven: Proven) -> Iterator[Change]:
        for index, vector in proven.after.items():
            node = graph.nodes[index]
            states = proven.before[index]
            for endpoint, ports in zip(node.endpoints, node.ports, strict=True):
                presents = _pair(states, vector, ports.chain)
                trusts = _pair(states, vector, ports.bundle)
                file = _pair(states, vector, ports.file)
                if presents is None and trusts is None and file is None:
                    continue
                yield Change(
                    group=graph.units[node.group].group.name,
                    endpoint=endpoint.name,
                    present_from=self._issuer(presents[0]) if presents else None,
                    present=self._issuer(presents[1]) if presents else None,
                    trust_from=self._bundle(trusts[0]) if trusts else None,
                    trust=self._bundle(trusts[1]) if trusts else None,
                    file_from=_path(file[0]) if file else None,
                    file=_path(file[1]) if file else None,
                )

    def _issuer(self, value: Value) -> str:
        chain = certificates_of(value)
        prospect = self._knowledge.prospect(chain)
        issuer = self._labels.get(prospect.issuer, "") if prospect else ""
        if self._goal.is_bridged(chain[1:]):
            return f"{issuer}+bridge"
        if not issuer and chain and self._goal.tells_of(chain[0], self._authority):
            return self._called(chain[0], of_issuer=True)
        return issuer or short(chain[0] if chain else "none")

    def _bundle(self, bundle: Value) -> tuple[str, ...]:
        return tuple(
            self._labels.get(ca) or self._called(ca)
            for ca in certificates_of(bundle)
            if self._goal.tells_of(ca, self._authority)
        )

    def _called(self, fingerprint: Fingerprint, *, of_issuer: bool = False) -> str:
        """Return what a CA is called that is no version of an authority."""
        known = self._knowledge.certificates.get(fingerprint)
        if known is None:
            return short(fingerprint)
        return known.issuer_name if of_issuer else known.subject

    def _phases(self, graph: Graph, proven: Proven) -> Iterator[Phase]:
        for index, vector in proven.after.items():
            node = graph.nodes[index]
            states = proven.before[index]
            for endpoint, ports in zip(node.endpoints, node.ports, strict=True):
                if _pair(states, vector, ports.file) is not None:
                    yield Phase.REPOINT
                trusts = _pair(states, vector, ports.bundle)
                if trusts is not None:
                    yield from self._of_trust(*(set(certificates_of(bundle)) for bundle in trusts))
                if _pair(states, vector, ports.chain) is not None:
                    yield Phase.ACTIVATE if endpoint.role is Role.SOURCE else Phase.REISSUE

    def _of_trust(self, now: set[Fingerprint], later: set[Fingerprint]) -> Iterator[Phase]:
        if later - now:
            yield Phase.TRUST
        if any(self._goal.tells_of(ca, self._authority) for ca in now - later):
            yield Phase.WITHDRAW


def _path(value: Value) -> str | None:
    return value.path if isinstance(value, BundleFile) else None


def _in_order(phases: Iterator[Phase]) -> tuple[Phase, ...]:
    found = set(phases)
    return tuple(phase for phase in Phase if phase in found)


def _pair(before: Possible, after: Vector, port: int | None) -> tuple[Value, Value] | None:
    """Return what a port may hold before, and holds after; None when that surely stays."""
    if port is None:
        return None
    return next(
        ((state[port], after[port]) for state in before if state[port] != after[port]), None
    )


def _assignment(node: Node, vector: Vector) -> Assignment:
    return Assignment(
        instances=node.instances,
        endpoints=tuple(endpoint.name for endpoint in node.endpoints),
        presents=tuple(
            () if port.chain is None else certificates_of(vector[port.chain]) for port in node.ports
        ),
        trusts=tuple(
            None if port.bundle is None else certificates_of(vector[port.bundle])
            for port in node.ports
        ),
        files=_files(node, vector),
    )


def _files(node: Node, vector: Vector) -> tuple[str | None, ...]:
    if all(port.file is None for port in node.ports):
        return ()
    return tuple(None if port.file is None else _path(vector[port.file]) for port in node.ports)


def _notices(touch: Touch, changes: tuple[Change, ...]) -> Iterator[str]:
    if touch is Touch.RECONNECT and any(change.present for change in changes):
        yield "each instance reconnects once: core messages sent to it meanwhile may be lost"
    if touch is Touch.RESTART:
        yield "each instance restarts once: its connections are cut, its peers reconnect"
    if touch is Touch.RECREATE:
        yield "each instance is recreated: its ephemeral state is lost"


def point_of_no_return(rollouts: tuple[Rollout, ...]) -> int | None:
    """Return the number of the first rollout that takes trust away, if any."""
    return next(
        (
            rollout.number
            for rollout in rollouts
            if any(
                set(change.trust_from or ()) - set(change.trust or ()) for change in rollout.changes
            )
        ),
        None,
    )
