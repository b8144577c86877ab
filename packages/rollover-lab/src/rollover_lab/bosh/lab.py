"""A BOSH lab from start to end: deploys a director, says what runs, finds agents, ends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from bosh_interpolate import emit
from bosh_interpolate.values import Tree
from rollover.codec.manifests import manifest_errors
from rollover.errors import NotFound, Unreachable
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import BoshInstance
from rollover_lab import lifecycle, machine, state
from rollover_lab.bosh import director_access, shape
from rollover_lab.bosh.cloud.client import CloudVm, JobProcessStatus, LabCloud, ignores_mbus
from rollover_lab.bosh.create_env import CreateEnv, create_env
from rollover_lab.bosh.director_access import DirectorSetup, LabAddresses
from rollover_lab.bosh.director_manifest import MANIFEST_TEXT, UAA_OPS_TEXT, LabProperties
from rollover_lab.bosh.job_config import DirectorTiming
from rollover_lab.bosh.layout import BoshLayout
from rollover_lab.bosh.shape import DeploymentShape, GroupShape, Shape
from rollover_lab.children import ProcessId
from rollover_lab.control import Control, ReleaseLab
from rollover_lab.lifecycle import claimed_directory, filled_directory, spawn
from rollover_lab.machine import LOOPBACK, FindPorts, free_ports
from rollover_lab.state import BoshContent, LabState

ASK_SECONDS = 30.0
_STATUS_SECONDS = 10.0
CREATE_ENV_LOG = "create-env.log"
TOKEN_SECONDS = 120.0
"""How long a token of the UAA lasts; that of `bosh_cli` in bosh-deployment does."""
HURRY = 0.1
"""What the waits of agents are multiplied by in a lab in a hurry."""
QUICK = LabProperties(
    timing=DirectorTiming(
        # Changes are sent once, so this is long enough for a busy machine.
        rpc_timeout=15.0,
        # Asked three times: a dead agent costs 15 s as well.
        get_state_timeout=5.0,
        # Short: every agent that gets new credentials misses one.
        get_task_timeout=2.0,
        get_task_poll=0.2,
        agent_wait=120.0,
        list_timeout=1.0,
        sync_interval=0.2,
        nats_reconnect=0.2,
    ),
    shared_keys=8,
    agent_timeout=10.0,
    analyze_interval=2.0,
)
"""What differs in a lab in a hurry, however many agents it has."""

SayProgress = Callable[[str], None]


class BoshLabSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start."""

    shape: Shape
    quick: bool = False
    health_check_seconds: float | None = None
    """Every so many seconds a short-lived deployment comes and goes."""
    resurrection: bool = True
    ready: Path | None = None
    """Where labs of one person leave their keys for each other: RSA keys take their time."""
    uaa: bool = False
    """The director takes tokens of a UAA, and no passwords."""
    token_seconds: float = TOKEN_SECONDS


def up(
    spec: BoshLabSpec,
    directory: Path,
    *,
    say: SayProgress = lambda _: None,
    find_ports: FindPorts = free_ports,
) -> BoshLayout:
    """Start a lab in a new or empty directory; it runs until `down`. Returns when all is deployed.

    What fails leaves no process behind, but the directory with its logs; interrupted, or before
    there is any, it removes that too. `StaleError` when a lab runs there, `SpecError` when
    something else is there, or no room.
    """
    root = directory.absolute()
    layout = BoshLayout(root)
    with claimed_directory(layout.lab) as lock, filled_directory(layout.lab):
        try:
            _start(spec, layout, lock=lock, say=say, find_ports=find_ports)
        except BaseException:
            if layout.lab.state.exists():
                down(root)
            raise
    return layout


def _start(
    spec: BoshLabSpec, layout: BoshLayout, *, lock: int, say: SayProgress, find_ports: FindPorts
) -> None:
    addresses = write_inputs(spec, layout, find_ports)
    say("starting the cloud …")
    content = BoshContent(name=layout.root.name, pace=HURRY if spec.quick else 1.0)
    state.write(layout.lab.state, LabState(content=content))
    # Until it is released, the lab ends with this process: also when it is killed half-way.
    lifeline = spawn(layout.lab, lock)
    try:
        say("create-env: certificates, NATS, director, health monitor …")
        with (layout.root / CREATE_ENV_LOG).open("w") as log, manifest_errors():
            create_env(create_env_call(layout), log.write)
        if spec.ready is not None and not (left := _left_credentials(spec, spec.ready)).exists():
            machine.write_private(left, layout.credentials.read_bytes())
        director_access.write_operator_files(layout, addresses)
        with closing(DirectorSetup(director_access.director_access(layout))) as api:
            api.update_cloud_config()
            _deploy(spec.shape, layout, api, say=say)
        Control(layout.lab.control, timeout_seconds=ASK_SECONDS).tell(ReleaseLab())
    finally:
        os.close(lifeline)


def create_env_call(layout: BoshLayout, *ops_files: str) -> CreateEnv:
    """Return the operator's call of `create-env`, with further ops files."""
    return CreateEnv(
        manifest=str(layout.manifest),
        ops_files=(*director_access.ops_files(layout), *ops_files),
        vars_files=(str(layout.variables),),
        vars_store=str(layout.credentials),
        state=str(layout.state),
    )


def write_inputs(spec: BoshLabSpec, layout: BoshLayout, find_ports: FindPorts) -> LabAddresses:
    """Write the operator's files, before anything runs; return the addresses that were chosen."""
    director, nats, monitor, uaa = find_ports(4)
    keys = layout.ready_keys if spec.ready is None else spec.ready / layout.ready_keys.name
    lab = msgspec.structs.replace(
        QUICK if spec.quick else LabProperties(),
        ready_keys=str(keys) if spec.quick else None,
        monitor_port=monitor,
        health_check=spec.health_check_seconds,
    )
    variables: Tree = {
        "director_name": layout.root.name,
        "internal_ip": LOOPBACK,
        "internal_cidr": f"{LOOPBACK}/8",
        "internal_gw": "127.0.0.254",
        "director_port": director,
        "nats_port": nats,
        "resurrector_enabled": spec.resurrection,
        **({"uaa_port": uaa, "uaa_token_seconds": spec.token_seconds} if spec.uaa else {}),
        # An agent that ignores new credentials would be left with those that end at once.
        "short_lived_bootstrap_credentials": not any(
            ignores_mbus(stemcell.name, stemcell.version) for stemcell in spec.shape.stemcells
        ),
        "lab_directory": str(layout.root),
        "lab": msgspec.to_builtins(lab),
    }
    machine.write_private(layout.manifest, MANIFEST_TEXT.encode())
    machine.write_private(layout.variables, emit(variables).encode())
    if spec.uaa:
        machine.write_private(layout.uaa, UAA_OPS_TEXT.encode())
    if spec.ready is not None and (left := _left_credentials(spec, spec.ready)).exists():
        machine.write_private(layout.credentials, left.read_bytes())
    director_access.write_create_env(layout)
    return LabAddresses(
        director=f"{LOOPBACK}:{director}",
        nats=f"{LOOPBACK}:{nats}",
        monitor=f"{LOOPBACK}:{monitor}",
    )


def _left_credentials(spec: BoshLabSpec, ready: Path) -> Path:
    """Return where the vars store of a lab with the same variables was left."""
    return ready / ("creds-with-uaa.yml" if spec.uaa else "creds.yml")


def _deploy(wanted: Shape, layout: BoshLayout, api: DirectorSetup, *, say: SayProgress) -> None:
    tasks = {}
    for deployment in wanted.deployments:
        text = emit(shape.deployment_manifest(deployment))
        machine.write_private(layout.deployments / f"{deployment.name}.yml", text.encode())
        tasks[deployment.name] = api.director.deploy(deployment.name, text)
    say(f"deploying {wanted.instances} agents in {len(tasks)} deployments …")
    for number in tasks.values():
        api.finish(number)
    for deployment in wanted.deployments:
        _settle(deployment, api)


def _settle(deployment: DeploymentShape, api: DirectorSetup) -> None:
    """Bring instances into the states that a shape asks for."""
    if not any(group.ignored or group.stopped or group.detached for group in deployment.groups):
        return
    found = api.director.placed(deployment.name)
    for group in deployment.groups:
        _settle_group(group, [instance for instance in found if instance.group == group.name], api)


def _settle_group(group: GroupShape, own: list[BoshInstance], api: DirectorSetup) -> None:
    for instance in own[: group.detached]:
        api.stop(instance, hard=True)
    for instance in own[group.detached : group.detached + group.stopped]:
        api.stop(instance)
    # From the other end, and last: an ignored instance is not stopped any more.
    for instance in own[max(0, len(own) - group.ignored) :] if group.ignored else ():
        api.director.ignore(instance, ignored=True)


class BoshLabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a BOSH lab, for people and scripts."""

    directory: str
    name: str
    up: bool
    """Whether its supervisor runs."""
    director: tuple[JobProcessStatus, ...] = ()
    vms: tuple[CloudVm, ...] = ()


def status(directory: Path) -> BoshLabStatus:
    """Return what runs; `Unreachable` or `TimedOut` when it is up and does not answer."""
    layout = BoshLayout(directory.absolute())
    known = state.read(layout.lab.state)
    found = BoshLabStatus(directory=str(layout.root), name=known.content.name, up=known.up)
    if not found.up:
        return found
    cloud = LabCloud(layout.lab.control, timeout_seconds=_STATUS_SECONDS)
    return msgspec.structs.replace(
        found, director=cloud.director_vm("status").processes, vms=cloud.vms()
    )


def attach_cloud(directory: Path) -> tuple[BoshLayout, LabCloud]:
    """Return a lab that runs; `Unreachable` when it has ended, or never was."""
    layout = BoshLayout(directory.absolute())
    if not state.holds_bosh(layout.lab.state) or not state.read(layout.lab.state).up:
        raise Unreachable(
            f"no BOSH lab runs in `{layout.root}`",
            system="lab",
            operation="attach",
            hint=f"`rollover lab up bosh --directory {directory}` starts one",
        )
    return layout, LabCloud(layout.lab.control)


def down(directory: Path, *, remove: bool = False) -> tuple[ProcessId, ...]:
    """End the lab in a directory as `lifecycle.end_processes` does; `remove` deletes it all."""
    layout = BoshLayout(directory.absolute())
    ended = lifecycle.end_processes(layout.lab)
    if remove:
        shutil.rmtree(layout.root)
    return ended


def find_agent(name: str, layout: BoshLayout, cloud: LabCloud) -> str:
    """Return an agent's id.

    `name`: an agent's id, a VM's cid, or `[deployment/]group/id` with an instance's id or index;
    the director is asked for the latter. `NotFound` when none has it, or several do.
    """
    for vm in cloud.vms():
        if name in (vm.agent_id, vm.vm_cid):
            return vm.agent_id
    found = tuple(
        instance for instance in _placed_instances(layout) if name in _names_of_instance(instance)
    )
    agents = tuple(instance.agent_id for instance in found if instance.agent_id is not None)
    if len(agents) != 1:
        raise NotFound(
            f"{len(agents)} agents of {len(found)} instances are called `{name}`",
            system="lab",
            operation="look it up",
            hint="`rollover lab status` lists agents; or write `deployment/group/index`",
        )
    return agents[0]


def _placed_instances(layout: BoshLayout) -> Iterator[BoshInstance]:
    with Director(director_access.director_access(layout)) as director:
        for deployment in director.deployments():
            yield from director.placed(deployment.name)


def _names_of_instance(instance: BoshInstance) -> Iterator[str]:
    for which in (instance.id, str(instance.index)):
        yield f"{instance.group}/{which}"
        yield f"{instance.deployment}/{instance.group}/{which}"
