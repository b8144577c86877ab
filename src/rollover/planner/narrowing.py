"""How a link limits a rollout: which stages keep it working, and the furthest that agree.

Arc consistency (Mackworth 1977), on stages: where the accepted pairs are closed under maximum,
the latest stages that survive are together a safe choice (Jeavons and Cooper 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.fleet.certificate import Usage
from rollover.planner.graph import Edge, Graph, Held, Vector
from rollover.planner.safety import Half, Judge, halves, starts
from rollover.planner.slots import Stage, Value

Outcomes = tuple[Value, ...]
"""What a slot holds after a rollout, by the stage that it is taken to."""

Domains = list[list[Stage]]
"""The stages that each slot name of a group may still be taken to, ascending."""


class End(NamedTuple):
    """One end of a half: where it looks, and which of the group's names it depends on, if any."""

    node: int
    slot: int
    name: int | None


class Check(NamedTuple):
    """One half of a handshake, as the group sees it."""

    half: Half
    bundle: End
    chain: End


class Touch(NamedTuple):
    """One edge of a group, with the halves that its acceptance comes down to."""

    edge: Edge
    checks: tuple[Check, ...]


class Allowed(NamedTuple):
    """The stages of one name that keep a link working."""

    name: int
    stages: frozenset[Stage]


class Pairs(NamedTuple):
    """The stages of two names that keep a link working together."""

    one: int
    other: int
    stages: frozenset[tuple[Stage, Stage]]


class Limits(NamedTuple):
    """What one edge demands of a rollout."""

    allowed: tuple[Allowed, ...]
    pairs: tuple[Pairs, ...]


def touch(graph: Graph, edge: Edge, names: Mapping[tuple[int, int], int]) -> Touch | None:
    """Return an edge as a group sees it; None: it never works, for a party presents nothing."""
    checks = []
    for half in halves(graph, edge):
        if half.chain is None:
            return None
        bundle = End(half.verifier, half.bundle, names.get((half.verifier, half.bundle)))
        chain = End(half.presenter, half.chain, names.get((half.presenter, half.chain)))
        checks.append(Check(half, bundle, chain))
    return Touch(edge, tuple(checks))


class Limiter:
    """Works out the limits that edges of one group set. `own`: the names of its classes' slots."""

    def __init__(
        self,
        judge: Judge,
        own: Mapping[int, Sequence[int]],
        outcomes: Callable[[int, int, Value], Outcomes],
    ) -> None:
        self._judge = judge
        self._own = own
        self._outcomes_of = outcomes

    def limits(self, seen: Touch, state: Held, instants: Sequence[datetime]) -> Limits:
        """Return the limits of one edge: it goes on to work from all that it works in now."""
        allowed: list[Allowed] = []
        pairs: list[Pairs] = []
        for start in starts(seen.edge, state):
            verdicts = (self._judge.link(seen.edge, *start, each) is None for each in instants)
            if not next(verdicts):
                continue
            if not all(verdicts):
                allowed += self._unchanged(seen.edge, state)
                continue
            for check in seen.checks:
                accepted = self._accepted(check.half, instants)
                if not seen.edge.same_instance:
                    allowed += self._changed_ends(check, start, state, accepted)
                pairs += self._changed_pair(check, state, accepted)
        return Limits(tuple(allowed), tuple(pairs))

    def _accepted(self, half: Half, instants: Sequence[datetime]) -> Callable[[Value, Value], bool]:
        def accepted(bundle: Value, chain: Value) -> bool:
            return all(self._judge.accepts(half, chain, bundle, each) for each in instants)

        return accepted

    def _changed_ends(
        self,
        check: Check,
        start: tuple[Vector, Vector],
        state: Held,
        accepted: Callable[[Value, Value], bool],
    ) -> Iterator[Allowed]:
        """Each end, changed, has to get on with the other unchanged."""
        verifier, presenter = start if check.half.usage is Usage.SERVER else start[::-1]
        anchors, sent = verifier[check.bundle.slot], presenter[check.chain.slot]
        if check.bundle.name is not None:
            after = self._outcomes(check.bundle, state)
            fits = (stage for stage in Stage if accepted(after[stage], sent))
            yield Allowed(check.bundle.name, frozenset(fits))
        if check.chain.name is not None:
            after = self._outcomes(check.chain, state)
            fits = (stage for stage in Stage if accepted(anchors, after[stage]))
            yield Allowed(check.chain.name, frozenset(fits))

    def _changed_pair(
        self, check: Check, state: Held, accepted: Callable[[Value, Value], bool]
    ) -> Iterator[Pairs]:
        """Both ends, changed, have to get on with one another."""
        one, other = check.bundle.name, check.chain.name
        if one is None or other is None:
            return
        bundles, chains = self._outcomes(check.bundle, state), self._outcomes(check.chain, state)
        stages = frozenset(
            (high, low) for high in Stage for low in Stage if accepted(bundles[high], chains[low])
        )
        yield Pairs(one, other, stages)

    def _unchanged(self, edge: Edge, state: Held) -> Iterator[Allowed]:
        """Leave only choices that change neither end: no step may touch a link about to fail."""
        for index in {edge.dialer, edge.acceptor}.intersection(self._own):
            for at, name in enumerate(self._own[index]):
                after = self._outcomes(End(index, at, name), state)
                now = {vector[at] for vector in state[index]}
                yield Allowed(name, frozenset(each for each in Stage if {after[each]} == now))

    def _outcomes(self, end: End, state: Held) -> Outcomes:
        return self._outcomes_of(end.node, end.slot, state[end.node][0][end.slot])


def settle(domains: Domains, limits: Iterable[Limits]) -> bool:
    """Narrow the domains to the stages that agree with one another; False when none are left."""
    pairs: set[Pairs] = set()
    for each in limits:
        pairs.update(each.pairs)
        for name, stages in each.allowed:
            domains[name] = [stage for stage in domains[name] if stage in stages]
    while all(domains):
        size = sum(map(len, domains))
        for one, other, agreed in pairs:
            highs, lows = domains[one], domains[other]
            domains[one] = [high for high in highs if any((high, low) in agreed for low in lows)]
            domains[other] = [low for low in lows if any((high, low) in agreed for high in highs)]
        if sum(map(len, domains)) == size:
            return True
    return False
