"""A safe plan where an exact search would take too long: one good rollout after another.

Each rollout is safe by the same rule; only the claim that no cheaper plan exists is given up.
"""

from __future__ import annotations

from datetime import datetime

from rollover.planner.moves import Move, State, stage_of
from rollover.planner.search import Found, Search, Step
from rollover.planner.twins import Kin


def construct(search: Search) -> Found | None:
    """Return a plan, or None when at some point no safe rollout makes progress."""
    state = search.graph.start()
    path: list[Step] = []
    at = search.now
    while not search.arrived(state):
        best = _best(search, state, at)
        if best is None:
            return None
        kin, step = best
        path.append(Step(step.unit, step.choice))
        state = step.applied(state)
        at += search.lasts(kin)
    steps = search.expanded(path)
    return Found(steps=steps, weight=search.weighed(steps), exact=False, states=len(path))


def _best(search: Search, state: State, at: datetime) -> tuple[Kin, Move] | None:
    """Return the rollout that saves the most later ones, then the one that gets most done."""
    ranked: list[tuple[tuple[int, float], Kin, Move]] = []
    for kin in search.kin:
        unit = search.graph.units[kin.unit]
        if search.graph.arrived(state, unit.nodes):
            continue
        needed = search.needs(kin, state)
        for step in search.moves(kin, state, at):
            left = search.needs(kin, step.applied(state))
            if needed is None or left is None:
                continue
            progress = _progress(search, step, state) / max(1, search.weight(kin))
            ranked.append(((needed - left, progress), kin, step))
    if not ranked:
        return None
    _, kin, step = max(ranked, key=lambda item: item[0])
    return kin, step


def _progress(search: Search, step: Move, state: State) -> int:
    return sum(
        stage_of(slot, later) - stage_of(slot, now)
        for index, vector in step.after
        for slot, now, later in zip(
            search.graph.nodes[index].slots, state[index], vector, strict=True
        )
    )
