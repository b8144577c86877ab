"""Deployments side by side: the canary, the window, and what an event is about."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier

import pytest

from rigs.bosh_fakes import BEGUN
from rollover.fleet.evidence import Applied, EndpointMaterial, Failed, Order, Result
from rollover.fleet.names import EndpointName, InstanceName
from rollover.platforms.bosh.deploy_rollout import DeploymentOrders, in_parallel, updated_instance
from rollover.platforms.bosh.director_records import TaskEvent

MATERIAL = EndpointMaterial(endpoint=EndpointName("mbus"))


def work(name: str, size: int = 1) -> DeploymentOrders:
    """Return a deployment of that size."""
    orders = tuple(
        Order(instance=InstanceName(f"{name}/g/{number}"), endpoints=(MATERIAL,))
        for number in range(size)
    )
    return DeploymentOrders(deployment=name, orders=orders, instances=())


def applied(one: DeploymentOrders) -> Iterator[Result]:
    """Apply everything."""
    for order in one.orders:
        yield Applied(instance=order.instance, seconds=0.0)


def failed(one: DeploymentOrders) -> Iterator[Result]:
    """Fail at the first."""
    yield Failed(instance=one.orders[0].instance, seconds=0.0, code="x", message="y")


def test_the_smallest_deployment_goes_first_and_alone() -> None:
    """If it fails, nothing else is touched."""
    begun: list[str] = []

    def run(one: DeploymentOrders) -> Iterator[Result]:
        begun.append(one.deployment)
        return failed(one)

    works = [work("big", 5), work("small", 1), work("middle", 2)]
    results = list(in_parallel(run, works, width=3, stopping=lambda: False))
    assert begun == ["small"]
    assert len(results) == 1


def test_the_rest_run_side_by_side() -> None:
    """As many as the width says: both wait for each other here."""
    together = Barrier(2, timeout=600)

    def run(one: DeploymentOrders) -> Iterator[Result]:
        if one.deployment != "canary":
            together.wait()
        return applied(one)

    works = [work("canary"), work("x", 2), work("y", 2)]
    results = list(in_parallel(run, works, width=2, stopping=lambda: False))
    assert len(results) == 5


def test_after_a_failure_no_further_deployment_begins() -> None:
    """Those that were begun are finished."""
    begun: list[str] = []

    def run(one: DeploymentOrders) -> Iterator[Result]:
        begun.append(one.deployment)
        return failed(one) if one.deployment == "b" else applied(one)

    works = [work(name) for name in "abcd"]
    results = list(in_parallel(run, works, width=1, stopping=lambda: False))
    assert begun == ["a", "b"]
    assert [type(result) for result in results] == [Applied, Failed]


def test_stopping_begins_nothing_more() -> None:
    """Not even the canary, when it is said at once."""
    results: list[Result] = []
    works = [work(name) for name in "abc"]
    for item in in_parallel(applied, works, width=1, stopping=lambda: len(results) > 0):
        results.append(item)  # noqa: PERF402 - what was told decides whether to stop
    assert len(results) == 1
    assert list(in_parallel(applied, works, width=1, stopping=lambda: True)) == []


@pytest.mark.parametrize(
    ("stage", "task", "name"),
    [
        (
            "Updating instance",
            "router/0f00ba12-0000-4000-8000-000000000001 (0) (canary)",
            "web/router/0f00ba12-0000-4000-8000-000000000001",
        ),
        ("Updating instance", "diego-cell/abc (12)", "web/diego-cell/abc"),
        ("Updating instance", "", None),
        ("Preparing deployment", "router/abc (0)", None),
    ],
)
def test_an_event_names_its_instance(stage: str, task: str, name: str | None) -> None:
    """Only in the stage in which instances are updated."""
    event = TaskEvent(time=BEGUN, stage=stage, task=task, state="finished")
    assert updated_instance(event, "web") == name
