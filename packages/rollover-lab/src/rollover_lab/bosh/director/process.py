"""The director's process: NATS, workers, bosh-nats-sync, the health check and the API, wired up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from rollover_lab.bosh.cloud.client import Cloud
from rollover_lab.bosh.director import health_check
from rollover_lab.bosh.director.agent_keys import NewKey, SharedKeys, own_key
from rollover_lab.bosh.director.api import app as api
from rollover_lab.bosh.director.configs import Configs, Facts
from rollover_lab.bosh.director.cpi import Cloud as CloudPort
from rollover_lab.bosh.director.credentials import Credentials
from rollover_lab.bosh.director.database import Database
from rollover_lab.bosh.director.deployments import Deployments
from rollover_lab.bosh.director.expiry import Expiries
from rollover_lab.bosh.director.history import History
from rollover_lab.bosh.director.instances import Instances
from rollover_lab.bosh.director.locks import Locks
from rollover_lab.bosh.director.nats_link import NatsLink
from rollover_lab.bosh.director.nats_sync import NatsSync
from rollover_lab.bosh.director.outputs import Outputs
from rollover_lab.bosh.director.problems import Problems
from rollover_lab.bosh.director.stock import Stock
from rollover_lab.bosh.director.task_book import TaskBook
from rollover_lab.bosh.director.work import Bus, Director
from rollover_lab.bosh.director.workers import Workers
from rollover_lab.bosh.rendered import DirectorConfig

_STOP_SECONDS = 2
"""How long connections of clients may stay open when the process ends."""


class LostNats(Exception):
    """NATS is gone for good; the process should end and be started again."""


def serve(config: DirectorConfig) -> None:
    """Run until a signal; raises `LostNats`."""
    asyncio.run(_serve(config))


async def _serve(config: DirectorConfig) -> None:
    lost = asyncio.Event()
    database = Database(Path(config.database))
    link = NatsLink(config.nats, reconnect_seconds=config.timing.nats_reconnect, ended=lost.set)
    director = assemble(config, database, bus=link, cloud=Cloud(config.cloud))
    workers = Workers(director)
    server = _server(config, api.make(director, workers, Expiries(config)))
    NatsSync(director).start()
    workers.start()
    if config.health_check is not None:
        health_check.start(director, workers, every_seconds=config.health_check)
    async with _beside(link.open()), _beside(_end(server, lost)):
        await server.serve()
    await link.close()
    if lost.is_set():
        raise LostNats


def assemble(config: DirectorConfig, database: Database, *, bus: Bus, cloud: CloudPort) -> Director:
    """Return a director's parts; nothing runs yet."""
    new_key = _new_key(config)
    return Director(
        config=config,
        deployments=Deployments(database),
        instances=Instances(database),
        tasks=TaskBook(database),
        outputs=Outputs(Path(config.tasks)),
        stock=Stock(database),
        configs=Configs(database),
        facts=Facts(database),
        history=History(database),
        locks=Locks(database),
        problems=Problems(database),
        credentials=Credentials(config.agents, trusted_certs=config.trusted_certs, new_key=new_key),
        bus=bus,
        cloud=cloud,
    )


def _new_key(config: DirectorConfig) -> NewKey:
    if config.shared_keys is None:
        return own_key
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
