"""Finds the agent that a person names: by its id, its VM, or its instance."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.errors import NotFound
from rollover.platforms.bosh.director import Director
from rollover.platforms.bosh.records import BoshInstance
from rollover_lab.bosh import described
from rollover_lab.bosh.cloud.client import Cloud
from rollover_lab.bosh.layout import BoshLayout


def agent_named(name: str, layout: BoshLayout, cloud: Cloud) -> str:
    """Return an agent's id.

    `name`: an agent's id, a VM's cid, or `[deployment/]group/id` with an instance's id or index;
    the director is asked for the latter. `NotFound` when none has it, or several do.
    """
    for vm in cloud.vms():
        if name in (vm.agent_id, vm.vm_cid):
            return vm.agent_id
    found = tuple(each for each in _instances(layout) if name in _names(each))
    agents = tuple(each.agent_id for each in found if each.agent_id is not None)
    if len(agents) != 1:
        raise NotFound(
            f"{len(agents)} agents of {len(found)} instances are called `{name}`",
            system="lab",
            operation="look it up",
            hint="`rollover lab status` lists agents; or write `deployment/group/index`",
        )
    return agents[0]


def _instances(layout: BoshLayout) -> Iterator[BoshInstance]:
    with Director(described.access(layout)) as director:
        for deployment in director.deployments():
            yield from director.placed(deployment.name)


def _names(instance: BoshInstance) -> Iterator[str]:
    for which in (instance.id, str(instance.index)):
        yield f"{instance.group}/{which}"
        yield f"{instance.deployment}/{instance.group}/{which}"
