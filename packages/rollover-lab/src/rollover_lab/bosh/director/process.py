"""The director's process: NATS, workers, bosh-nats-sync, the health check and the API, wired up."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from rollover_lab import machine
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.director.agent_client import NatsLink
from rollover_lab.bosh.director.api import app as api
from rollover_lab.bosh.director.credentials import (
    AgentCertificateIssuer,
    NewKey,
    SharedKeys,
    VariableExpiries,
    new_own_key,
)
from rollover_lab.bosh.director.database import DirectorDatabase
from rollover_lab.bosh.director.deployment_plan import DeleteOrder, DeployOrder, JobType
from rollover_lab.bosh.director.instances import DeploymentTable, InstanceTable, InstanceVm
from rollover_lab.bosh.director.records import (
    ConfigTable,
    DirectorFacts,
    History,
    LockTable,
    ProblemTable,
    Stock,
)
from rollover_lab.bosh.director.task_records import Outputs, TaskTable
from rollover_lab.bosh.director.work import LabDirector
from rollover_lab.bosh.director.workers import Workers
from rollover_lab.bosh.job_config import (
    DIRECTOR_PERMISSIONS,
    HEALTH_MONITOR_PERMISSIONS,
    DirectorConfig,
    NatsUser,
    Permissions,
    auth_file,
)

log = logging.getLogger(__name__)

_STOP_SECONDS = 2
"""How long connections of clients may stay open when the process ends."""


class LostNats(Exception):
    """NATS is gone for good; the process should end and be started again."""


def serve(config: DirectorConfig) -> None:
    """Run until a signal; raises `LostNats`."""
    asyncio.run(_serve(config))


async def _serve(config: DirectorConfig) -> None:
    lost = asyncio.Event()
    database = DirectorDatabase(Path(config.database))
    link = NatsLink(config.nats, reconnect_seconds=config.timing.nats_reconnect, ended=lost.set)
    director = assemble(config, database, bus=link, cloud=LabCloud(config.cloud))
    workers = Workers(director)
    server = _server(config, api.make_app(director, workers, VariableExpiries(config)))
    NatsSync(director).start()
    workers.start()
    if config.health_check is not None:
        start_health_check(director, workers, every_seconds=config.health_check)
    # The API answers before NATS lets the director in, which may take a while.
    async with _beside(link.open()), _beside(_end(server, lost)):
        await server.serve()
    await link.close()
    if lost.is_set():
        raise LostNats


def assemble(
    config: DirectorConfig, database: DirectorDatabase, *, bus: NatsLink, cloud: LabCloud
) -> LabDirector:
    """Return a director's parts; nothing runs yet."""
    new_key = _new_key(config)
    return LabDirector(
        config=config,
        deployments=DeploymentTable(database),
        instances=InstanceTable(database),
        tasks=TaskTable(database),
        outputs=Outputs(Path(config.tasks)),
        stock=Stock(database),
        configs=ConfigTable(database),
        facts=DirectorFacts(database),
        history=History(database),
        locks=LockTable(database),
        problems=ProblemTable(database),
        credentials=AgentCertificateIssuer(
            config.agents, trusted_certs=config.trusted_certs, new_key=new_key
        ),
        bus=bus,
        cloud=cloud,
    )


def _new_key(config: DirectorConfig) -> NewKey:
    if config.shared_keys is None:
        return new_own_key
    kept = None if config.ready_keys is None else Path(config.ready_keys)
    return SharedKeys(config.shared_keys, kept=kept).next


async def _end(server: uvicorn.Server, lost: asyncio.Event) -> None:
    """Let the server end as soon as NATS is lost."""
    await lost.wait()
    server.should_exit = True


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do some work beside the body of `async with`, and no longer."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


def _server(config: DirectorConfig, app: Starlette) -> uvicorn.Server:
    host, _, port = config.listen.rpartition(":")
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host.strip("[]"),
            port=int(port),
            ssl_certfile=config.certificate,
            ssl_keyfile=config.private_key,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


class NatsSync:
    """Keeps `auth.json`, who may do what on NATS, up to date as bosh-nats-sync does it.

    When its content changes nats-server reads it again. Authorization is by subject only; it does
    not tell certificates of one CA from those of another.
    """

    def __init__(self, director: LabDirector) -> None:
        self._director = director
        self._file = Path(director.config.auth_file)
        self._pid_file = Path(director.config.nats_pid_file)

    def start(self) -> None:
        """Begin: nats-server reads what is there, and the first look is one interval later."""
        threading.Thread(target=self._keep, daemon=True).start()

    def write(self) -> bool:
        """Write the file; return whether its MD5 has changed."""
        content = nats_authorization(self._director)
        try:
            before = self._file.read_bytes()
        except FileNotFoundError:
            before = b""
        if _md5_of_file(before) == _md5_of_file(content):
            return False
        machine.write_private(self._file, content)
        return True

    def _keep(self) -> None:
        stale = True
        while True:
            # A reload that failed is tried again with the next look: nats-server may be starting.
            stale = stale and not self._reload()
            time.sleep(self._director.config.timing.sync_interval)
            stale = self.write() or stale

    def _reload(self) -> bool:
        try:
            os.kill(int(self._pid_file.read_text()), signal.SIGHUP)
        except (OSError, ValueError) as error:
            log.warning("nats-server was not told to reload: %s", error)
            return False
        log.info("nats-server was told to reload")
        return True


def nats_authorization(director: LabDirector) -> bytes:
    """Return `auth.json` for the VMs that there are."""
    return auth_file(nats_users(*director.config.nats_subjects, director.instances.vms()))


def nats_users(director: str, health_monitor: str, vms: Iterable[InstanceVm]) -> Iterable[NatsUser]:
    """Yield who may log in: two subjects, and one or two names for each VM."""
    yield NatsUser(user=director, permissions=DIRECTOR_PERMISSIONS)
    yield NatsUser(user=health_monitor, permissions=HEALTH_MONITOR_PERMISSIONS)
    for vm in vms:
        if not vm.permanent_nats_credentials:
            yield _agent_user(vm.agent_id, f"{vm.agent_id}.bootstrap")
        yield _agent_user(vm.agent_id, vm.agent_id)


def _agent_user(agent_id: str, name: str) -> NatsUser:
    return NatsUser(
        user=f"C=USA, O=Cloud Foundry, CN={name}.agent.bosh-internal",
        permissions=Permissions(
            publish=(
                f"hm.agent.heartbeat.{agent_id}",
                f"hm.agent.alert.{agent_id}",
                f"hm.agent.shutdown.{agent_id}",
                f"director.*.{agent_id}.*",
            ),
            subscribe=(f"agent.{agent_id}",),
        ),
    )


def _md5_of_file(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


HEALTH_CHECK_PREFIX = "bosh-health-"
SHARE_OF_TIME = 1 / 20
"""How much of its interval the health check's deployment lives: 30 s of ten minutes (KB 297427)."""
_POLL_SECONDS = 0.1

_HEALTH_CHECK_MANIFEST = """\
name: {name}
releases: []
stemcells:
- alias: default
  os: ubuntu-jammy
  version: latest
update:
  canaries: 1
  max_in_flight: 1
instance_groups:
- name: bosh-health-check
  instances: 1
  stemcell: default
"""


def start_health_check(director: LabDirector, workers: Workers, *, every_seconds: float) -> None:
    """Deploy and delete a deployment again and again, as Healthwatch's `bosh-health` does.

    From a thread of its own.
    """
    check = _HealthCheck(director, workers)
    threading.Thread(target=check.keep, args=(every_seconds,), daemon=True).start()


class _HealthCheck:
    def __init__(self, director: LabDirector, workers: Workers) -> None:
        self._director = director
        self._workers = workers
        self._user = director.config.users[0].name

    def keep(self, every_seconds: float) -> None:
        # What an earlier process left.
        for deployment in self._director.deployments.all():
            if deployment.name.startswith(HEALTH_CHECK_PREFIX):
                self._delete(deployment.name)
        number = 0
        while True:
            time.sleep(every_seconds)
            number += 1
            self._check(f"{HEALTH_CHECK_PREFIX}{number}", lives=every_seconds * SHARE_OF_TIME)

    def _check(self, name: str, *, lives: float) -> None:
        self._director.deployments.create(name)
        order = DeployOrder(manifest=_HEALTH_CHECK_MANIFEST.format(name=name), new=True)
        self._run(JobType.DEPLOY, order, name, "create deployment")
        time.sleep(lives)
        self._delete(name)

    def _delete(self, name: str) -> None:
        self._run(JobType.DELETE, DeleteOrder(force=True), name, f"delete deployment {name}")

    def _run(
        self, kind: JobType, order: DeployOrder | DeleteOrder, name: str, description: str
    ) -> None:
        task = self._workers.add(
            kind, order, description=description, user=self._user, deployment=name
        )
        while not self._director.tasks.get(task.id).state.ended:
            time.sleep(_POLL_SECONDS)
