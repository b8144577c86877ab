"""A director, its NATS and its agents in memory, for tests of what speaks to them.

`World` is the truth: which VM has which credentials. A deploy gives every started VM that is not
ignored new ones, as the director hands them out at that moment, with the mishaps that BOSH has.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from threading import RLock
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rollover.errors import NotFound, TimedOut
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.description import (
    DirectorDescription,
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import issue_authority
from rollover.pki.keys import PrivateKey, generate, to_pem
from rollover.platforms.bosh.agent_pinger import AgentAnswer
from rollover.platforms.bosh.connections import AgentConnection, Listing, OtherConnection
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DeployExtent,
    Deployment,
    DiffLine,
    DirectorInfo,
    DirectorLock,
    DirectorTask,
    NamedConfig,
    Stemcell,
    TaskEvent,
    TaskState,
)
from rollover.platforms.bosh.provenance import IssuedCredentials

BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
JAMMY = Stemcell(name="bosh-lab-ubuntu-jammy-go_agent", version="1.500")
OLD = Stemcell(name="bosh-lab-ubuntu-bionic-go_agent", version="1.10")
MANIFEST = "---\nname: {name}\ninstance_groups:\n- name: router\n- name: db\n"
MBUS = EndpointName("mbus")


class Ca(NamedTuple):
    """A CA with its key."""

    certificate: Certificate
    key: PrivateKey

    @property
    def fingerprint(self) -> Fingerprint:
        """That of its certificate."""
        return self.certificate.fingerprint

    @property
    def secret(self) -> SecretBytes:
        """Its key as PEM."""
        return SecretBytes(to_pem(self.key))


def ca(name: str, *, at: datetime = BEGUN - timedelta(days=30), days: float = 365) -> Ca:
    """Return a new CA."""
    key = generate(KeyKind.P256)
    made = issue_authority(common_name=name, key=key, not_before=at, lifetime=timedelta(days=days))
    return Ca(made, key)


class Mishap(StrEnum):
    """What happens to a VM at its next deploy."""

    NONE = ""
    KEEPS = "keeps"
    """The agent crashes before it saves (H2): for ever."""
    ONLY_DNS = "only-dns"
    """The first deploy changes its DNS only (H3)."""
    FAILS = "fails"
    """Its jobs do not run afterwards."""
    HUNG = "hung"
    """Connected, and answers nothing."""
    DEAD = "dead"
    """Not connected."""


class Vm:
    """The truth about one VM."""

    def __init__(
        self, instance: BoshInstance, *, signer: Fingerprint, bundle: IssuedCredentials
    ) -> None:
        self.instance = instance
        self.mishap = Mishap.NONE
        self.signer = signer
        self.bundle = tuple(certificate.fingerprint for certificate in bundle.bundle)
        self.certificate = fingerprint()
        self.cid = 0
        self.bootstrap = False

    @property
    def connected(self) -> bool:
        """Whether NATS has a connection of it."""
        return self.mishap is not Mishap.DEAD

    @property
    def answers(self) -> bool:
        """Whether it answers a ping."""
        return self.mishap not in {Mishap.HUNG, Mishap.DEAD}


def fingerprint() -> Fingerprint:
    """Return a new one."""
    return Fingerprint(secrets.token_hex(32))


class World:
    """Deployments and their VMs; time passes only when somebody lets it."""

    def __init__(self, sizes: Mapping[str, int], *, stemcell: Stemcell = JAMMY) -> None:
        self.lock = RLock()
        self.now = BEGUN
        self.old, self.new = ca("old"), ca("new")
        self.handout = IssuedCredentials(
            signer=self.old.certificate, bundle=(self.old.certificate,)
        )
        self.cids = 100
        self.vms: dict[InstanceName, Vm] = {}
        self.others: tuple[OtherConnection, ...] = ()
        self.missing = ""
        self.started: datetime | None = BEGUN - timedelta(days=3)
        for deployment, size in sizes.items():
            for number in range(size):
                self.add(deployment, number, stemcell=stemcell)

    def add(self, deployment: str, number: int, *, stemcell: Stemcell = JAMMY) -> Vm:
        """Add a VM, as it was made a while ago."""
        instance = BoshInstance(
            deployment=deployment,
            group="router",
            id=f"{number:08x}-0000-4000-8000-{number:012x}",
            index=number,
            agent_id=f"agent-{deployment}-{number}",
            vm_cid=f"vm-{deployment}-{number}",
            vm_created_at=self.now - timedelta(days=20),
            job_state="running",
            stemcell=stemcell,
        )
        vm = Vm(instance, signer=self.handout.signer.fingerprint, bundle=self.handout)
        vm.cid = self.next_cid()
        self.vms[instance.name] = vm
        return vm

    def clock(self) -> datetime:
        """Return the time; each look at it takes a millisecond."""
        with self.lock:
            self.now += timedelta(milliseconds=1)
            return self.now

    def next_cid(self) -> int:
        """Return the id of the next connection."""
        self.cids += 1
        return self.cids

    def hand_out(self, signer: Ca, *bundle: Ca) -> None:
        """Have `create-env` run: from now on the director hands this out."""
        self.now += timedelta(minutes=10)
        self.handout = IssuedCredentials(
            signer=signer.certificate, bundle=tuple(pair.certificate for pair in bundle)
        )

    def update(self, vm: Vm, *, certificate: Fingerprint | None = None) -> None:
        """Give a VM what is handed out now."""
        with self.lock:
            vm.certificate = certificate or fingerprint()
            vm.signer = self.handout.signer.fingerprint
            vm.bundle = tuple(item.fingerprint for item in self.handout.bundle)
            vm.cid = self.next_cid()

    def of(self, deployment: str) -> list[Vm]:
        """Return the VMs of a deployment."""
        return [vm for vm in self.vms.values() if vm.instance.deployment == deployment]

    def drop(self, deployment: str) -> None:
        """Delete a deployment."""
        for vm in self.of(deployment):
            del self.vms[vm.instance.name]

    def signer_key(self, fingerprint: Fingerprint) -> SecretBytes | None:
        """Return the key of a CA."""
        for pair in (self.old, self.new):
            if pair.fingerprint == fingerprint:
                return pair.secret
        return None

    def group(self) -> GroupDescription:
        """Describe all agents, as `describe.expand` does."""
        endpoint = EndpointDescription(name=MBUS, role=Role.CLIENT, source="director/agents")
        return GroupDescription(
            name=GroupName("agents"),
            platform="bosh-agents",
            instances=tuple(
                InstanceDescription(name=name, endpoints=(endpoint,)) for name in self.vms
            ),
            touch=Touch.RESTART,
        )

    def orders(self, *names: InstanceName) -> list[Order]:
        """Return orders for what is handed out now, for all VMs unless some are named."""
        material = EndpointMaterial(
            endpoint=MBUS, issuer=self.handout.signer, bundle=self.handout.bundle
        )
        return [Order(instance=name, endpoints=(material,)) for name in names or self.vms]


class FakeDirector:
    """The calls of `Director` that agents need, on a `World`; `calls` is what was asked for."""

    def __init__(self, world: World, *, version: tuple[int, ...] = (283, 1, 6)) -> None:
        self.world = world
        self.version = version
        self.calls: list[str] = []
        self.held: list[DirectorLock] = []
        self.deploy_configs: tuple[NamedConfig, ...] = ()
        self.resurrects: bool | None = None
        self.made: dict[str, int] = {}
        """The tasks that made VMs, by the VM."""
        self.first_task = 40
        self.asked = 0
        """How often a deployment was listed with the states of its agents."""
        self.diffs: dict[str, tuple[DiffLine, ...]] = {}
        self.forgotten = ""
        """A deployment whose VMs run on although the director does not list it any more."""
        self.during: Callable[[str], None] = lambda _: None
        """Called with the deployment when a task begins."""
        self._tasks: dict[int, tuple[str, list[TaskEvent], DirectorTask]] = {}

    def info(self) -> DirectorInfo:
        """Return who it is."""
        return DirectorInfo(name="fake", uuid="fake", version=self.version)

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments."""
        names = dict.fromkeys(vm.instance.deployment for vm in self.world.vms.values())
        return tuple(Deployment(name=name) for name in names if name != self.forgotten)

    def instances(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its state."""
        self.asked += 1
        return tuple(
            vm.instance
            if vm.answers
            else msgspec.structs.replace(vm.instance, job_state="unresponsive agent")
            for vm in self._there(deployment)
        )

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance without its state."""
        return tuple(
            msgspec.structs.replace(
                vm.instance, state="started", job_state=None, ignore=False, stemcell=None
            )
            for vm in self._there(deployment)
        )

    def manifest(self, deployment: str) -> str:
        """Return the manifest."""
        self._there(deployment)
        return MANIFEST.format(name=deployment)

    def locks(self) -> tuple[DirectorLock, ...]:
        """Return what is locked; each look lets go of a lock that is held for so many looks."""
        found = tuple(self.held)
        self.held = [
            director_lock
            for director_lock in self.held
            if not director_lock.task_id.startswith("brief")
        ]
        return found

    def configs(self, kind: str | None = None) -> tuple[NamedConfig, ...]:
        """Return the deploy configs."""
        return self.deploy_configs if kind == "deploy" else ()

    def last_task(self) -> int | None:
        """Return the last task: numbers go on where those before this test ended."""
        return self.first_task + len(self._tasks)

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM, of those that are remembered."""
        return self.made.get(vm_cid)

    def resurrection(self) -> bool | None:
        """Say whether VMs are brought back."""
        return self.resurrects

    def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
        """Return what a deploy would change."""
        assert manifest.startswith("---")
        return self.diffs.get(deployment, ())

    def tasks(self, deployment: str | None = None) -> tuple[DirectorTask, ...]:
        """Return no tasks: those of this director end at once."""
        assert deployment
        return ()

    def deploy(self, deployment: str, manifest: str, extent: DeployExtent | None = None) -> int:
        """Begin a deploy."""
        extent = extent or DeployExtent()
        assert deployment in manifest
        self.calls.append(f"deploy {deployment}{' --fix' if extent.fix else ''}")
        return self._run(deployment, self._there(deployment), recreate=False, fix=extent.fix)

    def recreate(self, deployment: str, extent: DeployExtent | None = None) -> int:
        """Begin to make VMs anew."""
        extent = extent or DeployExtent()
        named = f" {extent.group}/{extent.instance}" if extent.instance else ""
        self.calls.append(f"recreate {deployment}{named}{' --fix' if extent.fix else ''}")
        chosen = [vm for vm in self._there(deployment) if extent.instance in {None, vm.instance.id}]
        return self._run(deployment, chosen, recreate=True, fix=extent.fix)

    def follow(
        self,
        number: int,
        *,
        stopping: Callable[[], bool] = lambda: False,  # noqa: ARG002 - tasks have ended
        deadline_seconds: float | None = None,
    ) -> Generator[TaskEvent, None, DirectorTask]:
        """Yield a task's events."""
        assert deadline_seconds
        _, events, task = self._tasks[number]
        yield from events
        return task

    def _there(self, deployment: str) -> list[Vm]:
        found = self.world.of(deployment)
        if not found or deployment == self.forgotten:
            raise NotFound("no such deployment", system="director", operation=deployment)
        return found

    def _run(self, deployment: str, vms: Sequence[Vm], *, recreate: bool, fix: bool) -> int:
        number = len(self._tasks) + 1
        self.during(deployment)
        events: list[TaskEvent] = []
        failure = ""
        silent = next((item for item in vms if not item.answers), None)
        if silent is not None and not fix:
            named = f"{silent.instance.group}/{silent.instance.id}"
            failure = f"{named} (0): Timed out sending 'get_state'"
        for vm in vms if not failure else ():
            if vm.instance.ignore or vm.instance.state != "started":
                continue
            named = f"{vm.instance.group}/{vm.instance.id} ({vm.instance.index})"
            events.append(self._event(named, "started"))
            if vm.mishap is Mishap.FAILS:
                failure = f"'{named}' is not running after update"
                events.append(self._event(named, "failed", error=failure))
                break
            self._change(vm, recreate=recreate or not vm.answers)
            events.append(self._event(named, "finished"))
        state = TaskState.ERROR if failure else TaskState.DONE
        task = DirectorTask(id=number, state=state, result=failure, deployment=deployment)
        self._tasks[number] = (deployment, events, task)
        return number

    def _change(self, vm: Vm, *, recreate: bool) -> None:
        if vm.mishap is Mishap.ONLY_DNS:
            vm.mishap = Mishap.NONE
            return
        if recreate:
            vm.mishap = Mishap.NONE
            vm.instance = msgspec.structs.replace(
                vm.instance,
                agent_id=f"agent-{secrets.token_hex(4)}",
                vm_created_at=self.world.clock(),
                vm_cid=f"vm-{secrets.token_hex(4)}",
            )
        old_agent = vm.instance.stemcell == OLD and not recreate
        if vm.mishap is not Mishap.KEEPS and not old_agent:
            self.world.update(vm)

    def _event(self, named: str, state: str, *, error: str = "") -> TaskEvent:
        return TaskEvent(
            time=self.world.now,
            stage="Updating instance",
            task=named,
            state=state,
            error=error,
        )


class FakeConnections:
    """What NATS sees of a `World`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def listing(self) -> Listing:
        """Return all connections."""
        if self.world.missing:
            return Listing(missing=self.world.missing)
        with self.world.lock:
            vms = list(self.world.vms.values())
        return Listing(
            agents=tuple(
                AgentConnection(
                    cid=vm.cid,
                    agent_id=vm.instance.agent_id or "",
                    bootstrap=vm.bootstrap,
                    cert_sha256=vm.certificate,
                    since=self.world.now - timedelta(hours=1),
                )
                for vm in vms
                if vm.connected and vm.instance.agent_id is not None
            ),
            others=self.world.others,
        )

    def started_at(self) -> datetime | None:
        """Return when NATS started."""
        return self.world.started


class FakeMbus:
    """The agents of a `World`: they answer pings, and take settings."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[tuple[str, dict[str, object]]] = []

    def ping(
        self,
        agents: Collection[str],
        *,
        timeout_seconds: float,  # noqa: ARG002 - nobody is slow here
        wanted: int | None = None,  # noqa: ARG002 - likewise
    ) -> Mapping[str, AgentAnswer]:
        """Return who answers."""
        there = {vm.instance.agent_id: vm for vm in self.world.vms.values()}
        return {
            agent: AgentAnswer(agent=agent, value=b'"pong"')
            for agent in agents
            if agent in there and there[agent].answers
        }

    def call(
        self, agent: str, method: str, arguments: Sequence[object] = (), *, timeout_seconds: float
    ) -> AgentAnswer:
        """Take settings, or tell of a task that has ended."""
        vm = next(value for value in self.world.vms.values() if value.instance.agent_id == agent)
        if not vm.answers:
            raise TimedOut(f"{timeout_seconds:g} s", system=f"agent {agent}", operation=method)
        if method == "get_task":
            return AgentAnswer(agent=agent, value=b'"ok"')
        settings = arguments[0]
        assert isinstance(settings, dict)
        self.sent.append((agent, settings))
        pem = settings["mbus"]["cert"]["certificate"].encode()
        leaf = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())
        if vm.mishap is not Mishap.KEEPS:
            self.world.update(vm, certificate=Fingerprint(leaf.hex()))
        return AgentAnswer(agent=agent, value=b'{"agent_task_id":"t1","state":"running"}')


SETTINGS = DirectorDescription(environment="https://192.0.2.1:25555")
