"""The shapes of labs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rollover.errors import SpecError
from rollover_lab.bosh.cloud.client import ignores_mbus
from rollover_lab.bosh.shape import (
    DeploymentShape,
    GroupShape,
    Shape,
    deployment_manifest,
    shape_of_numbers,
    shrink,
)


@given(
    agents=st.integers(1, 120),
    deployments=st.integers(1, 12),
    persistent=st.integers(0, 20),
    old=st.integers(0, 20),
)
def test_a_shape_has_what_was_asked_for(
    agents: int, deployments: int, persistent: int, old: int
) -> None:
    """Every agent, disk and old stemcell is somewhere; names of deployments are distinct."""
    assume(deployments <= agents and persistent + old <= agents)
    shape = shape_of_numbers(
        agents=agents, deployments=deployments, persistent=persistent, old_stemcell=old
    )
    groups = [group for deployment in shape.deployments for group in deployment.groups]
    assert shape.instances == agents
    assert len({deployment.name for deployment in shape.deployments}) == deployments
    assert sum(group.instances for group in groups if group.persistent_disk_mb) == persistent
    aged = [group for group in groups if ignores_mbus(group.stemcell.name, group.stemcell.version)]
    assert sum(group.instances for group in aged) == old


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"agents": 2, "deployments": 3}, "3 deployments of 2 agents"),
        ({"agents": 2, "deployments": 1, "persistent": 2, "old_stemcell": 1}, "of 2 agents"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers: dict[str, int], why: str) -> None:
    """Nothing is left out silently."""
    with pytest.raises(SpecError, match=why):
        shape_of_numbers(**numbers)


def test_a_manifest_names_the_stemcell_of_each_group() -> None:
    """Groups on different stemcells refer to them by different aliases."""
    shape = shape_of_numbers(agents=4, deployments=1, persistent=1, old_stemcell=1, max_in_flight=3)
    found = deployment_manifest(shape.deployments[0])
    text = msgspec.json.decode(msgspec.json.encode(found))
    by_alias = {stemcell["alias"]: stemcell["version"] for stemcell in text["stemcells"]}
    groups = {group["name"]: group for group in text["instance_groups"]}
    assert by_alias[groups["legacy"]["stemcell"]] == "1.10"
    assert by_alias[groups["database"]["stemcell"]] == "1.651"
    assert groups["database"]["persistent_disk"] > 0
    assert text["update"]["max_in_flight"] == 3


def test_a_large_shape_shrinks_in_proportion() -> None:
    """Every group keeps an instance, and no more stand out than there are."""
    groups = (
        GroupShape(name="cell", instances=300, ignored=4, stopped=40),
        GroupShape(name="api", instances=3, detached=1),
    )
    shape = Shape(deployments=(DeploymentShape(name="cf", groups=groups),))
    cells, api = shrink(shape, 30).deployments[0].groups
    assert 25 <= cells.instances <= 30
    assert cells.ignored == 4
    assert cells.stopped == cells.instances
    assert (api.instances, api.detached) == (1, 1)
    assert shrink(shape, 400) == shape
