"""What a rollout of a group does to its classes, and what its sources dictate."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from rollover.planner.graph import Choice, Graph, Held, Node, State, Unit, Vector
from rollover.planner.safety import Window
from rollover.planner.slots import Stage


class Move(msgspec.Struct, frozen=True):
    """One rollout in one state: the choice, and the vectors of the classes that it changes."""

    unit: int
    choice: Choice
    after: tuple[tuple[int, Vector], ...]

    def applied(self, state: State) -> State:
        """Return the state after the rollout."""
        held = list(state)
        for index, vector in self.after:
            held[index] = (vector,)
        return tuple(held)


def move(graph: Graph, unit: Unit, choice: Choice, state: Held) -> Move:
    """Return what a choice changes in a state. A class that was not confirmed is changed too."""
    after = []
    for index in unit.nodes:
        vector = resolve(graph.nodes[index], unit, choice, state[index][0])
        if state[index] != (vector,):
            after.append((index, vector))
    return Move(unit.index, choice, tuple(after))


def resolve(node: Node, unit: Unit, choice: Choice, vector: Vector) -> Vector:
    """Return what a class holds after a choice: no slot ever goes back a stage."""
    wanted = dict(zip(unit.slot_names, choice, strict=True))
    return tuple(
        slot.raised(value, wanted[slot.name])
        for slot, value in zip(node.slots, vector, strict=True)
    )


def straight(unit: Unit) -> Choice:
    """Return the choice that takes every slot of a group to the goal at once."""
    return tuple(Stage.END for _ in unit.slot_names)


def window(graph: Graph, unit: Unit, starts: datetime, margin: timedelta) -> Window:
    """Return the time for which a rollout that starts then has to be safe.

    It lasts until the next rollout can have ended: its own time, the margin in which people
    decide, and the time of the longest rollout of any group.
    """
    return Window(starts, starts + unit.group.rollout_time + margin + graph.longest)


def dictated(graph: Graph, unit: Unit, state: Held) -> dict[str, Stage]:
    """Return the stages that sources dictate: a rollout delivers what they hold now, no other."""
    found: dict[str, Stage] = {}
    for feed in unit.feeds:
        source = graph.units[feed.group].nodes[0]
        for slot, value in zip(graph.nodes[source].slots, state[source][0], strict=True):
            if slot.name == feed.source_slot:
                found[feed.slot] = _marked(graph, unit, feed.slot, slot.mark(value))
    return found


def _marked(graph: Graph, unit: Unit, name: str, mark: object) -> Stage:
    stages = (
        slot.marked(mark)
        for index in unit.nodes
        for slot in graph.nodes[index].slots
        if slot.name == name
    )
    return max(stages, default=Stage.KEEP)


def feeding(graph: Graph) -> dict[int, frozenset[str]]:
    """Return for each source the slots whose content decides what others get."""
    found: dict[int, frozenset[str]] = {}
    for unit in graph.units:
        for feed in unit.feeds:
            found[feed.group] = found.get(feed.group, frozenset()) | {feed.source_slot}
    return found
