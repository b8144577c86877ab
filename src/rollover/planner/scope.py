"""The safe rollouts of one group: the furthest, found without enumeration, or every one.

Where the accepted pairs of stages are *closed under maximum* (with two accepted pairs, the pair
of their later stages is accepted too) so are the safe choices of a group: there is one furthest,
and going further never makes a later rollout harder. `closed` checks that premise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product

from rollover.planner.graph import Graph, Held
from rollover.planner.moves import Move, dictated, move
from rollover.planner.narrowing import Domains, Limiter, Limits, Outcomes, settle, touch
from rollover.planner.safety import Half, Judge, Window, halves
from rollover.planner.slots import Slot, Stage, Value

MOST_CHOICES = 4096
"""How many choices of one group are enumerated at most, where enumeration is needed."""


class Scope:
    """The rollouts of one group, as far as some of its links limit them."""

    def __init__(self, graph: Graph, judge: Judge, unit: int, edges: Sequence[int]) -> None:
        self._graph = graph
        self._judge = judge
        self._edges = tuple(edges)
        self.unit = graph.units[unit]
        number = {name: at for at, name in enumerate(self.unit.slot_names)}
        self._own = {
            index: tuple(number[slot.name] for slot in graph.nodes[index].slots)
            for index in self.unit.nodes
        }
        names = {(i, at): name for i, held in self._own.items() for at, name in enumerate(held)}
        found = (touch(graph, graph.edges[index], names) for index in edges)
        self._touches = tuple(each for each in found if each is not None)
        self._raised: dict[tuple[int, int, Value], Outcomes] = {}
        self._limiter = Limiter(judge, self._own, self._outcomes)
        self._limits: dict[tuple[object, ...], Limits] = {}
        self.truncated = False
        """Whether there were more choices than may be enumerated."""
        self.looks_at = tuple(dict.fromkeys(self._nodes()))

    def _nodes(self) -> Iterator[int]:
        """Yield the classes whose state decides what the group can do."""
        yield from self.unit.nodes
        for feed in self.unit.feeds:
            yield self._graph.units[feed.group].nodes[0]
        for each in self._touches:
            yield each.edge.dialer
            yield each.edge.acceptor

    def furthest(self, state: Held, during: Window, fixed: Mapping[str, Stage]) -> Move | None:
        """Return the furthest safe rollout with the stages that are fixed; None: there is none."""
        domains = self._domains(state, fixed)
        instants = self._judge.instants(during)
        limits = (self._limited(at, state, instants) for at in range(len(self._touches)))
        if not settle(domains, limits):
            return None
        found = move(self._graph, self.unit, tuple(each[-1] for each in domains), state)
        return found if found.after else None

    def _limited(self, at: int, state: Held, instants: Sequence[datetime]) -> Limits:
        """Return the limits of one edge, worked out once for what its ends hold."""
        edge = self._touches[at].edge
        epochs = map(self._judge.epoch, instants)
        key = (at, state[edge.dialer], state[edge.acceptor], *epochs)
        if key not in self._limits:
            self._limits[key] = self._limiter.limits(self._touches[at], state, instants)
        return self._limits[key]

    def every(self, state: Held, during: Window, fixed: Mapping[str, Stage]) -> Iterator[Move]:
        """Yield every safe rollout with the stages that are fixed, up to MOST_CHOICES tried."""
        seen: set[object] = set()
        furthest_first = (each[::-1] for each in self._domains(state, fixed))
        for tried, choice in enumerate(product(*furthest_first)):
            if tried >= MOST_CHOICES:
                self.truncated = True
                return
            found = move(self._graph, self.unit, choice, state)
            if not found.after or found.after in seen:
                continue
            seen.add(found.after)
            if self._judge.safe(self._edges, state, dict(found.after), during):
                yield found

    def dictated(self, state: Held) -> dict[str, Stage]:
        """Return the stages that the group's sources dictate."""
        return dictated(self._graph, self.unit, state)

    def options(self, state: Held, name: str) -> list[Stage]:
        """Return the stages to which a slot of the group could go."""
        stages = {Stage.KEEP}
        for index in self.unit.nodes:
            for slot, value in zip(self._graph.nodes[index].slots, state[index][0], strict=True):
                if slot.name == name:
                    now = slot.stage(value)
                    stages.update(stage for stage, _ in slot.values if stage > now)
        return sorted(stages)

    def _domains(self, state: Held, fixed: Mapping[str, Stage]) -> Domains:
        return [
            [fixed[name]] if name in fixed else self.options(state, name)
            for name in self.unit.slot_names
        ]

    def _outcomes(self, node: int, slot: int, value: Value) -> Outcomes:
        """Return what a slot holds after a rollout, by the stage that it is taken to."""
        key = (node, slot, value)
        if key not in self._raised:
            model = self._graph.nodes[node].slots[slot]
            self._raised[key] = tuple(model.raised(value, stage) for stage in Stage)
        return self._raised[key]


def closed(graph: Graph, judge: Judge, edges: Iterable[int], instant: datetime) -> bool:
    """Whether the accepted pairs of stages of every edge are closed under maximum."""
    seen: set[tuple[object, ...]] = set()
    for index in edges:
        for half in halves(graph, graph.edges[index]):
            if half.chain is None:
                continue
            bundles = graph.nodes[half.verifier].slots[half.bundle]
            chains = graph.nodes[half.presenter].slots[half.chain]
            key = (bundles.values, chains.values, *half[4:])
            if key not in seen and not _closed(judge, half, bundles, chains, instant):
                return False
            seen.add(key)
    return True


def _closed(judge: Judge, half: Half, bundles: Slot, chains: Slot, instant: datetime) -> bool:
    pairs = [
        (at, place)
        for at, (_, bundle) in enumerate(bundles.values)
        for place, (_, chain) in enumerate(chains.values)
        if judge.accepts(half, chain, bundle, instant)
    ]
    known = set(pairs)
    return all(
        (max(one[0], other[0]), max(one[1], other[1])) in known for one in pairs for other in pairs
    )
