"""Starts a BOSH lab: the cloud, a director by `create-env`, and what the director deploys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from rollover.codec.manifests import manifest_errors
from rollover.lab import private_files
from rollover.lab.bosh import described, lifecycle, shape
from rollover.lab.bosh.api import Api
from rollover.lab.bosh.cloud.stemcells import ignores_mbus
from rollover.lab.bosh.create_env import CreateEnv, create_env
from rollover.lab.bosh.described import Addresses
from rollover.lab.bosh.layout import BoshLayout
from rollover.lab.bosh.properties import LabProperties
from rollover.lab.bosh.rendered import Timing
from rollover.lab.bosh.shape import DeploymentShape, Shape
from rollover.lab.bosh.template import MANIFEST, UAA
from rollover.lab.layout import Layout
from rollover.lab.ports import LOOPBACK, FindPorts, free_ports
from rollover.lab.spawning import claimed, filled
from rollover.manifest import emit
from rollover.manifest.values import Tree
from rollover.platforms.bosh.records import BoshInstance

CREATE_ENV_LOG = "create-env.log"
TOKEN_SECONDS = 120.0
"""How long a token of the UAA lasts; that of `bosh_cli` in bosh-deployment does."""
HURRY = 0.1
"""What the waits of agents are multiplied by in a lab in a hurry."""
QUICK = LabProperties(
    timing=Timing(
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

Say = Callable[[str], None]


class BoshLabSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start."""

    shape: Shape
    quick: bool = False
    health_check_seconds: float | None = None
    """Every so many seconds a short-lived deployment comes and goes."""
    resurrection: bool = True
    uaa: bool = False
    """The director takes tokens of a UAA, and no passwords."""
    token_seconds: float = TOKEN_SECONDS


def up(
    spec: BoshLabSpec,
    directory: Path,
    *,
    say: Say = lambda _: None,
    find_ports: FindPorts = free_ports,
) -> BoshLayout:
    """Start a lab in a new or empty directory; it runs until `down`. Returns when all is deployed.

    What fails leaves no process behind, but the directory with its logs; interrupted, or before
    there is any, it removes that too. `StaleError` when a lab runs there, `SpecError` when
    something else is there, or no room.
    """
    root = directory.absolute()
    layout = BoshLayout(root)
    with claimed(Layout(root)) as lock, filled(root, layout.record):
        try:
            _start(spec, layout, lock=lock, say=say, find_ports=find_ports)
        except BaseException:
            if layout.record.exists():
                lifecycle.down(root)
            raise
    return layout


def _start(
    spec: BoshLabSpec, layout: BoshLayout, *, lock: int, say: Say, find_ports: FindPorts
) -> None:
    addresses = write_inputs(spec, layout, find_ports)
    say("starting the cloud …")
    pace = ("--pace", f"{HURRY:g}") if spec.quick else ()
    lifecycle.spawn_cloud(layout, lock=lock, options=pace)
    say("create-env: certificates, NATS, director, health monitor …")
    with (layout.root / CREATE_ENV_LOG).open("w") as log, manifest_errors():
        create_env(command(layout), log.write)
    described.write(layout, addresses)
    with closing(Api(described.access(layout))) as api:
        api.update_cloud_config()
        _deploy(spec.shape, layout, api, say=say)


def command(layout: BoshLayout, *ops_files: str) -> CreateEnv:
    """Return the operator's call of `create-env`, with further ops files."""
    return CreateEnv(
        manifest=str(layout.manifest),
        ops_files=(*described.ops_files(layout), *ops_files),
        vars_files=(str(layout.variables),),
        vars_store=str(layout.credentials),
        state=str(layout.state),
    )


def write_inputs(spec: BoshLabSpec, layout: BoshLayout, find_ports: FindPorts) -> Addresses:
    """Write the operator's files, before anything runs; return the addresses that were chosen."""
    director, nats, monitor, uaa = find_ports(4)
    lab = msgspec.structs.replace(
        QUICK if spec.quick else LabProperties(),
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
            ignores_mbus(each.name, each.version) for each in spec.shape.stemcells
        ),
        "lab_directory": str(layout.root),
        "lab": msgspec.to_builtins(lab),
    }
    private_files.write(layout.manifest, MANIFEST.encode())
    private_files.write(layout.variables, emit(variables).encode())
    if spec.uaa:
        private_files.write(layout.uaa, UAA.encode())
    described.write_create_env(layout)
    return Addresses(
        director=f"{LOOPBACK}:{director}",
        nats=f"{LOOPBACK}:{nats}",
        monitor=f"{LOOPBACK}:{monitor}",
    )


def _deploy(wanted: Shape, layout: BoshLayout, api: Api, *, say: Say) -> None:
    tasks = {}
    for deployment in wanted.deployments:
        text = emit(shape.manifest(deployment))
        private_files.write(layout.deployments / f"{deployment.name}.yml", text.encode())
        tasks[deployment.name] = api.director.deploy(deployment.name, text)
    say(f"deploying {wanted.instances} agents in {len(tasks)} deployments …")
    for number in tasks.values():
        api.finish(number)
    for deployment in wanted.deployments:
        _settle(deployment, api)


def _settle(deployment: DeploymentShape, api: Api) -> None:
    """Bring instances into the states that a shape asks for."""
    if not any(group.ignored or group.stopped or group.detached for group in deployment.groups):
        return
    found = api.director.placed(deployment.name)
    for group in deployment.groups:
        own = [each for each in found if each.group == group.name]
        _settle_group(own, (group.detached, group.stopped, group.ignored), api)


def _settle_group(own: list[BoshInstance], counts: tuple[int, int, int], api: Api) -> None:
    detached, stopped, ignored = counts
    for instance in own[:detached]:
        api.stop(instance, hard=True)
    for instance in own[detached : detached + stopped]:
        api.stop(instance)
    for instance in own[max(0, len(own) - ignored) :] if ignored else ():
        api.director.ignore(instance, ignored=True)
