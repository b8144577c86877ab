"""The furthest safe rollout, found by narrowing, is the furthest of all that are safe."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from rigs import builders as build
from rigs.examples_budget import examples
from rigs.planner_fleets import Case, fleets
from rollover.fleet.goal import DEFAULT_STEP_MARGIN
from rollover.planner.classes import Classifier
from rollover.planner.estimate import Estimate, Part
from rollover.planner.graph import Graph, State
from rollover.planner.safety import Judge
from rollover.planner.search import Search, SearchTerms
from rollover.planner.step_limits import Scope, is_closed, step_window


def classified(case: Case) -> tuple[Graph, Judge]:
    """The graph of a case, and its judge."""
    known = case.world.knowledge()
    graph = Classifier(
        case.fleet, case.goal, knowledge=known, now=build.NOW, horizon=build.NOW
    ).graph()
    return graph, Judge(graph, known)


def stages(graph: Graph, state: State) -> list[int]:
    """How far every slot of every class is."""
    return [
        slot.stage(value)
        for node, possible in zip(graph.nodes, state, strict=True)
        for slot, value in zip(node.slots, possible[0], strict=True)
    ]


@examples(60)
@given(fleets(), st.data())
def test_narrowing_finds_the_furthest_of_all_safe_rollouts(case: Case, data: st.DataObject) -> None:
    """In any state on the way, no safe rollout of the group takes any slot further."""
    graph, judge = classified(case)
    assume(is_closed(graph, judge, range(len(graph.edges)), build.NOW))
    state = graph.observed()
    for _ in range(4):
        unit = data.draw(st.sampled_from(graph.units), label="group")
        scope = Scope(graph, judge, unit.index, graph.edges_of[unit.index])
        during = step_window(graph, unit, build.NOW, DEFAULT_STEP_MARGIN)
        furthest = scope.furthest(state, during, {})
        every = list(scope.every(state, during, {}))
        assert (furthest is None) == (not every)
        if furthest is None:
            continue
        reached = stages(graph, furthest.applied(state))
        for other in every:
            further = zip(reached, stages(graph, other.applied(state)), strict=True)
            assert all(mine >= its for mine, its in further)
        assert furthest in every
        state = data.draw(st.sampled_from(every), label="taken").applied(state)


@examples(30)
@given(fleets(), st.data())
def test_what_parts_cost_alone_never_exceeds_what_they_cost_in_the_whole(
    case: Case, data: st.DataObject
) -> None:
    """Any two groups, seen alone, need no more rollouts than they have in the cheapest plan."""
    graph, judge = classified(case)
    terms = SearchTerms(now=build.NOW, margin=DEFAULT_STEP_MARGIN, start=graph.observed())
    assume(is_closed(graph, judge, range(len(graph.edges)), build.NOW))
    search = Search(graph, judge, terms)
    found = search.cheapest(most_states=300).found
    assume(found is not None)
    assert found is not None
    units = tuple(sorted(groups.unit for groups in search.kin))
    part = tuple(data.draw(st.lists(st.sampled_from(units), min_size=1, max_size=3, unique=True)))
    estimate: Estimate = search.estimate
    alone = estimate.cost(Part(part, (1,) * len(part)), terms.start)
    assert alone <= sum(step.unit in part for step in found.steps)
