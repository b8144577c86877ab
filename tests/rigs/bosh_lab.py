"""A BOSH lab in a hurry for tests, and the ops files of the documented procedure."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from rigs.loopback_ports import free_ports
from rigs.patience import Patience
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import BoshInstance, TaskState
from rollover_lab.bosh import director_access, lab, pinging
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.create_env import create_env
from rollover_lab.bosh.lab import BoshLabSpec
from rollover_lab.bosh.layout import BoshLayout
from rollover_lab.bosh.pinging import Pinging
from rollover_lab.bosh.shape import shape_of_numbers

TLS = "/instance_groups/name=bosh/properties/nats/tls"
NAMES = (
    "nats_ca",
    "nats_server_tls",
    "nats_clients_director_tls",
    "nats_clients_health_monitor_tls",
)
SETTLE_SECONDS = 120.0
TASK_SECONDS = 240.0


class BoshLab(NamedTuple):
    """A lab that runs."""

    layout: BoshLayout
    cloud: LabCloud
    director: Director

    def create_env(self, *ops_files: str, **flags: bool) -> str:
        """Deploy the director with these ops files; return what was printed."""
        said: list[str] = []
        request = lab.create_env_call(self.layout, *ops_files)
        create_env(msgspec.structs.replace(request, **flags), said.append)
        return "".join(said)

    def ops_file(self, name: str, operations: list[dict[str, object]]) -> str:
        """Write an ops file; return its path."""
        path = self.layout.root / name
        path.write_text(json.dumps(operations))
        return str(path)

    def deployments(self) -> tuple[str, ...]:
        """Return the names of all deployments."""
        return tuple(deployment.name for deployment in self.director.deployments())

    def instances(self) -> tuple[BoshInstance, ...]:
        """Return every instance of every deployment, with its agent asked for its state."""
        return tuple(one for name in self.deployments() for one in self.director.instances(name))

    def states(self) -> set[str | None]:
        """Return what the agents say of their jobs, each once."""
        return {instance.job_state for instance in self.instances()}

    def deploy(self) -> None:
        """Deploy everything once more, as it is, and wait."""
        tasks = {
            name: self.director.deploy(name, self.director.manifest(name))
            for name in self.deployments()
        }
        for name, number in tasks.items():
            assert self.ended(number) is TaskState.DONE, name

    def ended(self, number: int) -> TaskState:
        """Wait until a task has ended; return how."""
        patience = Patience(TASK_SECONDS)
        while patience.lasts():
            state = self.director.task(number).state
            if state.ended:
                return state
            time.sleep(0.1)
        raise AssertionError(f"task {number} does not end")

    def all_answer(self) -> bool:
        """Say whether every agent says that its jobs run."""
        return self.states() == {"running"}


def in_a_hurry(
    *,
    agents: int = 4,
    deployments: int = 2,
    max_in_flight: int = 4,
    persistent: int = 0,
    old_stemcell: int = 0,
) -> BoshLabSpec:
    """Return what to start: short waits, and no resurrection behind the test's back."""
    shape = shape_of_numbers(
        agents=agents,
        deployments=deployments,
        max_in_flight=max_in_flight,
        persistent=persistent,
        old_stemcell=old_stemcell,
    )
    return BoshLabSpec(shape=shape, quick=True, resurrection=False)


def ready() -> Path:
    """Return where labs of this session leave keys for each other."""
    return Path(os.environ["TESTS_READY_KEYS"])


@contextmanager
def bosh_lab(directory: Path, spec: BoshLabSpec | None = None) -> Iterator[BoshLab]:
    """Start a lab in a new directory for the body of `with`, and end it."""
    wanted = msgspec.structs.replace(spec or in_a_hurry(), ready=ready())
    layout = lab.up(wanted, directory, find_ports=free_ports)
    try:
        with Director(director_access.director_access(layout), poll_seconds=0.1) as director:
            yield BoshLab(layout, LabCloud(layout.lab.control), director)
    finally:
        lab.down(directory)


@contextmanager
def pinging_of(lab: BoshLab, *, timeout_seconds: float = 2.0) -> Iterator[Pinging]:
    """Ping every agent of a lab for the body of `with`; what is not answered in time is lost."""
    with pinging.pinging_agents(
        lab.layout, interval_seconds=0.25, timeout_seconds=timeout_seconds
    ) as pings:
        yield pings


def every_agent_answers(lab: BoshLab, pings: Pinging) -> None:
    """Wait until the agent of every VM has answered once more."""
    before = {agent.agent: agent.answered for agent in pings.report().agents}
    agents = {vm.agent_id for vm in lab.cloud.vms()}

    def answering() -> set[str]:
        heard = pings.report().agents
        return {
            agent_pings.agent
            for agent_pings in heard
            if agent_pings.answered > before.get(agent_pings.agent, 0)
        }

    eventually(lambda: agents <= answering())


def eventually(wanted: Callable[[], bool], *, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until something is so; AssertionError when it is not in time."""
    patience = Patience(seconds)
    while not wanted():
        assert patience.lasts(), "it did not get so in time"
        time.sleep(0.1)


def add_new_ca() -> list[dict[str, object]]:
    """Return step 1 of the documented procedure, `add-new-ca.yml`."""
    return [
        _replace(f"{TLS}/ca?", "((nats_server_tls.ca))((nats_server_tls_2.ca))"),
        *_new_clients(),
        _variable("nats_ca_2", is_ca=True, common_name="default.nats-ca.bosh-internal"),
        _variable(
            "nats_server_tls_2",
            ca="nats_ca_2",
            common_name="default.nats.bosh-internal",
            alternative_names=["((internal_ip))"],
            extended_key_usage=["server_auth"],
        ),
        *(
            _variable(
                f"nats_clients_{name}_tls_2",
                ca="nats_ca_2",
                common_name=f"default.{short}.bosh-internal",
                extended_key_usage=["client_auth"],
            )
            for name, short in (("director", "director"), ("health_monitor", "hm"))
        ),
    ]


def remove_old_ca() -> list[dict[str, object]]:
    """Return step 3, `remove-old-ca.yml`."""
    return [
        _replace(f"{TLS}/ca?", "((nats_server_tls_2.ca))"),
        _replace(f"{TLS}/server?", _pair("nats_server_tls_2")),
        *_new_clients(),
    ]


def clean_up() -> list[dict[str, object]]:
    """Return step 5, `update_nats_var_values.yml`, for the vars store."""
    taken = [_replace(f"/{name}", f"(({name}_2))") for name in NAMES]
    old: list[dict[str, object]] = [{"type": "remove", "path": f"/{name}_2"} for name in NAMES]
    return taken + old


def _new_clients() -> Iterator[dict[str, object]]:
    yield _replace(f"{TLS}/client_ca?", _pair("nats_ca_2"))
    yield _replace(f"{TLS}/director?", _pair("nats_clients_director_tls_2"))
    yield _replace(f"{TLS}/health_monitor?", _pair("nats_clients_health_monitor_tls_2"))


def _replace(path: str, value: object) -> dict[str, object]:
    return {"type": "replace", "path": path, "value": value}


def _variable(name: str, **options: object) -> dict[str, object]:
    value = {"name": name, "type": "certificate", "options": options}
    return _replace(f"/variables/name={name}?", value)


def _pair(name: str) -> dict[str, str]:
    return {part: f"(({name}.{part}))" for part in ("certificate", "private_key")}
