"""How long a round over all agents takes, by the director's own pace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover.platforms.bosh.cost import (
    DIRECT_SECONDS,
    JOB_SECONDS,
    DeploymentCost,
    InstanceLoad,
    InstanceUpdate,
    ManifestPacing,
    UpdatePacing,
    UpdateWay,
    deployment_cost,
    group_cost,
    makespan,
    read_pacing,
    round_cost,
    share_of,
)
from rollover.platforms.bosh.director_records import BoshInstance

IN_PLACE = InstanceUpdate(way=UpdateWay.IN_PLACE, seconds=46.0)
RECREATE = InstanceUpdate(way=UpdateWay.RECREATE, seconds=240.0)
DIRECT = InstanceUpdate(way=UpdateWay.DIRECT, seconds=DIRECT_SECONDS)
MANIFEST = """\
name: web
update: {canaries: 2, max_in_flight: 25%, canary_watch_time: 5000-60000, update_watch_time: 1000}
instance_groups:
- name: router
  instances: 8
- name: db
  update: {max_in_flight: 1, serial: false, update_watch_time: "30000-300000"}
- name: ((odd))
"""


def loads(count: int, verdict: InstanceUpdate = IN_PLACE, *, zones: int = 1) -> list[InstanceLoad]:
    """So many instances, spread over zones."""
    return [InstanceLoad(zone=f"z{number % zones}", verdict=verdict) for number in range(count)]


def instances(group: str, count: int) -> list[tuple[BoshInstance, InstanceUpdate]]:
    """Instances of a group, all in place."""
    return [
        (BoshInstance(deployment="web", group=group, id=str(number)), IN_PLACE)
        for number in range(count)
    ]


def quick(**fields: object) -> UpdatePacing:
    """An update that watches nothing."""
    return UpdatePacing(canary_watch_seconds=0, watch_seconds=0, **fields)  # type: ignore[arg-type]  # fields of it


def test_the_fields_example_takes_seven_and_a_half_hours() -> None:
    """300 VMs, one at a time, 90 s each (reference of the field)."""
    update = UpdatePacing(canaries="0", max_in_flight="1", watch_seconds=30)
    cost = group_cost("cells", loads(300), update=update)
    assert cost.seconds == 300 * (46 + JOB_SECONDS + 30)
    assert cost.seconds / 3600 == pytest.approx(7.5, abs=0.1)


def test_ten_at_a_time_take_a_tenth() -> None:
    """As nothing else is shared."""
    one = group_cost("cells", loads(300), update=quick(canaries="0"))
    ten = group_cost("cells", loads(300), update=quick(canaries="0", max_in_flight="10"))
    assert ten.seconds == one.seconds / 10


def test_canaries_go_first_and_zones_one_after_another() -> None:
    """1 canary, then 4 of the first zone, then 5 of the second, all at once each."""
    update = quick(max_in_flight="100%")
    cost = group_cost("cells", loads(10, zones=2), update=update)
    assert cost.seconds == 3 * (46 + JOB_SECONDS)
    assert (cost.canaries, cost.max_in_flight) == (1, 10)


def test_told_directly_jobs_run_on_and_nobody_watches() -> None:
    """Which leaves the agent's own restart."""
    assert (
        group_cost("cells", loads(3, DIRECT), update=UpdatePacing()).seconds == 3 * DIRECT_SECONDS
    )


def test_groups_follow_one_another_unless_they_are_not_serial() -> None:
    """Neighbours that are not serial run side by side."""
    pairs = [*instances("a", 1), *instances("b", 2), *instances("c", 3)]
    one = 46 + JOB_SECONDS
    serial = ManifestPacing(groups={name: quick() for name in "abc"})
    assert deployment_cost("web", pairs, updates=serial).seconds == 6 * one
    beside = ManifestPacing(
        groups={"a": quick(), "b": quick(serial=False), "c": quick(serial=False)}
    )
    assert deployment_cost("web", pairs, updates=beside).seconds == (1 + 3) * one


def test_what_is_recreated_is_counted() -> None:
    """And takes as long as a new VM."""
    pairs = [(BoshInstance(deployment="web", group="a", id="1"), RECREATE), *instances("a", 1)]
    cost = deployment_cost("web", pairs, updates=ManifestPacing(default=quick()))
    assert (cost.instances, cost.recreated) == (2, 1)
    assert cost.seconds == 240 + 46 + 2 * JOB_SECONDS


def test_deployments_share_the_workers_of_the_director() -> None:
    """The longest first."""
    costs = [
        DeploymentCost(name=str(n), instances=1, recreated=0, seconds=float(n), groups=())
        for n in (1, 2, 3, 4)
    ]
    assert round_cost(costs, workers=2).seconds == 5.0
    assert round_cost(costs, workers=9).seconds == 4.0
    assert round_cost([], workers=3).seconds == 0.0
    assert round_cost([], workers=3).max_in_flight == 1


@given(st.lists(st.floats(0, 1000), max_size=40), st.integers(1, 12))
def test_no_order_beats_the_sum_or_the_longest(durations: list[float], lanes: int) -> None:
    """And none is worse than the sum of both (Graham's bound)."""
    found = makespan(durations, lanes=lanes)
    least = max(sum(durations) / lanes, max(durations, default=0.0))
    assert least <= found + 1e-6
    assert found <= sum(durations) / lanes + max(durations, default=0.0) + 1e-6


@pytest.mark.parametrize(
    ("text", "size", "least", "number"),
    [("1", 10, 1, 1), ("25%", 8, 1, 2), ("10%", 5, 1, 1), ("0", 5, 1, 1), ("0%", 5, 0, 0),
     (" 30 % ", 10, 1, 3), ("what", 10, 1, 1)],
)  # fmt: skip
def test_numbers_may_be_shares(text: str, size: int, least: int, number: int) -> None:
    """Rounded down, but at least one where it must be."""
    assert share_of(text, size, least=least) == number


def test_a_manifest_says_the_pace_of_each_group() -> None:
    """A group's own block goes before the manifest's."""
    found = read_pacing(MANIFEST)
    assert found.of("router") == UpdatePacing(
        canaries="2", max_in_flight="25%", canary_watch_seconds=5, watch_seconds=1
    )
    assert found.of("db") == UpdatePacing(
        canaries="2", max_in_flight="1", serial=False, canary_watch_seconds=5, watch_seconds=30
    )
    assert found.of("other") == found.of("router")
    assert list(found.groups) == ["router", "db", "((odd))"]


@pytest.mark.parametrize(
    "text", ["", "- a\n", "a: [", "update: x\ninstance_groups: 3", "update: {canaries: []}"]
)
def test_a_manifest_that_cannot_be_read_has_a_directors_pace(text: str) -> None:
    """It is for estimates; the director judges it."""
    assert read_pacing(text).of("any").max_in_flight == "1"
