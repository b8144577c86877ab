"""What a rollout of a group can do in a state: its choices, and the safe ones worth trying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product

import msgspec

from rollover.planner.graph import Choice, Graph, Node, Unit, Value, Vector
from rollover.planner.safety import Judge, Window
from rollover.planner.slots import Slot, Stage

MOST_CHOICES = 1024
"""Above this many choices of one group its slots of a kind are taken through stages together."""

State = tuple[Vector, ...]


class Move(msgspec.Struct, frozen=True):
    """One rollout in one state: the choice, and the vectors of the classes that it changes."""

    unit: int
    choice: Choice
    after: tuple[tuple[int, Vector], ...]

    def applied(self, state: State) -> State:
        """Return the state after the rollout."""
        changed = dict(self.after)
        return tuple(changed.get(index, vector) for index, vector in enumerate(state))


def stage_of(slot: Slot, value: object) -> Stage:
    """Return the furthest stage at which a slot holds a value; KEEP for any foreign value."""
    return max((stage for stage, held in slot.values if held == value), default=Stage.KEEP)


def resolve(node: Node, unit: Unit, choice: Choice, vector: Vector) -> Vector:
    """Return what a class holds after a choice: no slot ever goes back a stage."""
    wanted = dict(zip(unit.slot_names, choice, strict=True))
    return tuple(
        _advanced(slot, value, wanted[slot.name])
        for slot, value in zip(node.slots, vector, strict=True)
    )


def _advanced(slot: Slot, value: Value, stage: Stage) -> Value:
    if stage is Stage.KEEP or stage_of(slot, value) >= stage:
        return value
    for each, held in slot.values:
        if each is stage:
            return held
    return value


def window(graph: Graph, unit: Unit, starts: datetime, margin: timedelta) -> Window:
    """Return the time for which a rollout that starts then has to be safe.

    It lasts until the next rollout can have ended: its own time, the margin in which people
    decide, and the time of the longest rollout of any group.
    """
    return Window(starts, starts + unit.group.rollout_time + margin + graph.longest)


def choices(graph: Graph, unit: Unit, state: State) -> Iterator[Choice]:
    """Yield every combination of stages that a rollout could deliver, the furthest first."""
    fed = _fed(graph, unit, state)
    options: list[list[Stage]] = []
    for name in unit.slot_names:
        if name in fed:
            options.append([fed[name]])
            continue
        options.append(_options(graph, unit, state, name))
    if _size(options) > MOST_CHOICES:
        yield from _uniform(graph, unit, options)
        return
    yield from sorted(product(*options), key=sum, reverse=True)


def _size(options: Sequence[Sequence[Stage]]) -> int:
    size = 1
    for each in options:
        size *= len(each)
    return size


def _options(graph: Graph, unit: Unit, state: State, name: str) -> list[Stage]:
    stages = {Stage.KEEP}
    for index in unit.nodes:
        for slot, value in zip(graph.nodes[index].slots, state[index], strict=True):
            if slot.name == name:
                now = stage_of(slot, value)
                stages.update(stage for stage, _ in slot.values if stage > now)
    return sorted(stages)


def _uniform(graph: Graph, unit: Unit, options: Sequence[Sequence[Stage]]) -> Iterator[Choice]:
    chains = {
        slot.name for index in unit.nodes for slot in graph.nodes[index].slots if slot.is_chain
    }
    pairs = sorted(product(Stage, Stage), key=sum, reverse=True)
    seen: set[Choice] = set()
    for chain, bundle in pairs:
        choice = tuple(
            max(each for each in stages if each <= (chain if name in chains else bundle))
            for name, stages in zip(unit.slot_names, options, strict=True)
        )
        if choice not in seen:
            seen.add(choice)
            yield choice


def _fed(graph: Graph, unit: Unit, state: State) -> dict[str, Stage]:
    """Return the stages that a source dictates: a rollout delivers what it holds now."""
    dictated: dict[str, Stage] = {}
    for feed in unit.feeds:
        source = graph.units[feed.group].nodes[0]
        for slot, value in zip(graph.nodes[source].slots, state[source], strict=True):
            if slot.name == feed.source_slot:
                dictated[feed.slot] = stage_of(slot, value) if slot.moves else Stage.END
    return dictated


def move(graph: Graph, unit: Unit, choice: Choice, state: State) -> Move:
    """Return what a choice changes in a state."""
    after = []
    for index in unit.nodes:
        vector = resolve(graph.nodes[index], unit, choice, state[index])
        if vector != state[index]:
            after.append((index, vector))
    return Move(unit.index, choice, tuple(after))


def safe_moves(
    graph: Graph,
    judge: Judge,
    unit: Unit,
    state: State,
    *,
    edges: Sequence[int],
    during: Window,
    free: bool = False,
) -> list[Move]:
    """Return the safe rollouts of a group that no other safe one of it outdoes.

    Going further never makes a later rollout harder, so only the furthest are worth trying;
    except for a source: what it holds decides what others get, so all of its safe moves count.
    `free` leaves out what sources dictate: a relaxation, for bounds.
    """
    possible = tuple((vector,) for vector in state)
    found: list[Move] = []
    stages: list[tuple[Stage, ...]] = []
    seen: set[tuple[tuple[int, Vector], ...]] = set()
    relaxed = Unit(
        index=unit.index,
        group=unit.group,
        nodes=unit.nodes,
        slot_names=unit.slot_names,
        feeds=() if free else unit.feeds,
        is_source=unit.is_source,
    )
    for choice in choices(graph, relaxed, state):
        candidate = move(graph, unit, choice, state)
        if not candidate.after or candidate.after in seen:
            continue
        seen.add(candidate.after)
        reached = _stages(graph, unit, candidate.applied(state))
        if not unit.is_source and any(_outdoes(better, reached) for better in stages):
            continue
        if judge.safe(edges, possible, dict(candidate.after), during):
            found.append(candidate)
            stages.append(reached)
    return found


def _stages(graph: Graph, unit: Unit, state: State) -> tuple[Stage, ...]:
    return tuple(
        stage_of(slot, value)
        for index in unit.nodes
        for slot, value in zip(graph.nodes[index].slots, state[index], strict=True)
    )


def _outdoes(better: tuple[Stage, ...], worse: tuple[Stage, ...]) -> bool:
    """Whether one result is at least as far in every slot; both orders of a bundle are equals."""
    orders = (Stage.MEANWHILE, Stage.TURNED)
    return all(
        high >= low and not (high is Stage.TURNED and low is Stage.MEANWHILE and high in orders)
        for high, low in zip(better, worse, strict=True)
    )
