"""The health monitor at work: hears agents, asks the director now and then, and has VMs mended."""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
from collections import deque
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from rollover_lab.bosh.agent.bus import AgentBus, ConnectionBehaviour
from rollover_lab.bosh.health_monitor import roster
from rollover_lab.bosh.health_monitor.roster import (
    AgentRoster,
    DeploymentHealth,
    DeploymentLine,
    InstanceLine,
    MonitorAlert,
    MonitorStatus,
    SilentAgent,
)
from rollover_lab.bosh.job_config import DirectorUser, HealthMonitorConfig, MessageBus

_TIMEOUT_SECONDS: Final = 30.0
_SCAN_AND_FIX: Final = "scan and fix"

T = TypeVar("T")


class DirectorFailed(Exception):
    """The director does not answer, or not as it should."""


class _StartedTask(msgspec.Struct, frozen=True):
    description: str = ""


class MonitorDirectorApi:
    """A connection to the API, by password or by tokens; an asynchronous context manager."""

    def __init__(self, config: HealthMonitorConfig) -> None:
        # Its CA is named; nothing of the environment (proxies, certificate stores) has a say.
        context = ssl.create_default_context(cadata=Path(config.director_ca).read_text("ascii"))
        self._client = httpx2.AsyncClient(
            base_url=config.director,
            auth=(
                httpx2.BasicAuth(config.user.name, config.user.password)
                if config.uaa is None
                else _Tokens(config.uaa, config.user)
            ),
            verify=context,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def known(self) -> list[tuple[DeploymentLine, Sequence[InstanceLine]]]:
        """Return all deployments and their instances; raise `DirectorFailed`."""
        flags = "exclude_configs=true&exclude_releases=true&exclude_stemcells=true"
        deployments = await self._get(f"/deployments?{flags}", list[DeploymentLine])
        return [
            (
                deployment,
                await self._get(
                    f"/deployments/{quote(deployment.name)}/instances", list[InstanceLine]
                ),
            )
            for deployment in deployments
        ]

    async def mends(self, deployment: str) -> bool:
        """Say whether a `scan_and_fix` of a deployment waits or runs already."""
        query = f"deployment={quote(deployment)}&state=queued,processing&verbose=2"
        tasks = await self._get(f"/tasks?{query}", list[_StartedTask])
        return any(task.description == _SCAN_AND_FIX for task in tasks)

    async def scan_and_fix(self, deployment: str, silent: SilentAgent) -> None:
        """Have the director recreate the VMs of these instances, if it finds them silent too."""
        await self._send(
            "PUT",
            f"/deployments/{quote(deployment)}/scan_and_fix",
            content=msgspec.json.encode({"jobs": silent}),
        )

    async def _get(self, path: str, kind: type[T]) -> T:
        response = await self._send("GET", path)
        try:
            return msgspec.json.decode(response, type=kind)
        except msgspec.MsgspecError as error:
            raise DirectorFailed(f"GET {path}: {error}") from None

    async def _send(self, method: str, path: str, *, content: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        try:
            response = await self._client.request(method, path, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise DirectorFailed(f"{method} {path}: {type(error).__name__}") from None
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise DirectorFailed(f"{method} {path}: {response.status_code}")
        return response.content


class _Token(msgspec.Struct, frozen=True):
    access_token: str


class _Tokens(httpx2.Auth):
    """A token of a UAA (RFC 6749 §4.4), kept until the director does not take it any more."""

    requires_response_body = True

    def __init__(self, uaa: str, client: DirectorUser) -> None:
        credentials = base64.b64encode(f"{client.name}:{client.password}".encode()).decode()
        self._asking = httpx2.Request(
            "POST",
            f"{uaa}/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {credentials}", "Accept": "application/json"},
        )
        self._token = ""

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send a request with a token; with a new one when it is refused."""
        if not self._token:
            self._take((yield self._asking))
        request.headers["Authorization"] = f"bearer {self._token}"
        response = yield request
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._take((yield self._asking))
            request.headers["Authorization"] = f"bearer {self._token}"
            yield request

    def _take(self, response: httpx2.Response) -> None:
        self._token = ""
        if response.status_code != HTTPStatus.OK:
            raise DirectorFailed(f"no token: {response.status_code} of the UAA")
        try:
            self._token = msgspec.json.decode(response.content, type=_Token).access_token
        except msgspec.MsgspecError as error:
            raise DirectorFailed(f"no token: {error}") from None


HEARTBEAT, ALERT, SHUTDOWN = "hm.agent.heartbeat.", "hm.agent.alert.", "hm.agent.shutdown."
DIRECTOR_ALERT = "hm.director.alert"
RECONNECT_SECONDS: Final = 2.0
RECONNECT_ATTEMPTS: Final = 4
"""Then the process ends, and monit starts it again (reference/bosh.md §2)."""
_KEPT_ALERTS = 100
_GRACE_SHARE = 0.5
"""Of the interval between two looks: so long after its start it only listens."""
_WRITES_PER_LOOK = 12


class _Heartbeat(msgspec.Struct, frozen=True):
    job_state: str | None = None


class _AlertLine(msgspec.Struct, frozen=True):
    title: str = ""
    summary: str = ""


class HealthMonitor:
    """What a health monitor knows and does."""

    def __init__(self, config: HealthMonitorConfig, director: MonitorDirectorApi) -> None:
        self._config = config
        self._director = director
        self._roster = AgentRoster(agent_timeout=timedelta(seconds=config.agent_timeout))
        self._alerts: deque[MonitorAlert] = deque(maxlen=_KEPT_ALERTS)
        self._resurrections = 0
        self._bus = AgentBus(
            (f"nats://{config.nats.address}",),
            _tls_context(config.nats),
            ConnectionBehaviour(
                name="health monitor",
                delay=lambda _: RECONNECT_SECONDS,
                attempts=RECONNECT_ATTEMPTS,
                note=_log,
            ),
            subjects=(f"{HEARTBEAT}*", f"{ALERT}*", f"{SHUTDOWN}*", DIRECTOR_ALERT),
            deliver=self._hear,
        )

    async def run(self) -> None:
        """Work until the connection to NATS is given up."""
        parts = [
            asyncio.create_task(coroutine)
            for coroutine in (self._bus.run(), self._look(), self._write())
        ]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # a defect in one of them is not passed over
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._write_now()

    def _hear(self, subject: str, payload: bytes) -> None:
        now = datetime.now(UTC)
        try:
            if subject.startswith(HEARTBEAT):
                beat = msgspec.json.decode(payload, type=_Heartbeat)
                agent = subject.removeprefix(HEARTBEAT)
                self._roster.hear(agent, now, job_state=beat.job_state)
            elif subject.startswith(SHUTDOWN):
                self._roster.shut_down(subject.removeprefix(SHUTDOWN))
            else:
                line = msgspec.json.decode(payload, type=_AlertLine)
                source = subject.removeprefix(ALERT)
                self._alert(line.title, source=source, summary=line.summary)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            _log(f"an event that cannot be read, on {subject}")

    async def _look(self) -> None:
        """Ask the director and analyze, again and again."""
        await self._poll()
        await asyncio.sleep(self._config.analyze_interval * _GRACE_SHARE)
        while True:
            for deployment, silent in self._roster.analyze(datetime.now(UTC)).items():
                await self._mend(deployment, silent)
            await asyncio.sleep(self._config.analyze_interval)
            await self._poll()

    async def _poll(self) -> None:
        try:
            self._roster.learn(await self._director.known(), datetime.now(UTC))
        except DirectorFailed as error:
            self._alert("the director cannot be asked", source="hm", summary=str(error))

    async def _mend(self, deployment: str, silent: SilentAgent) -> None:
        names = ", ".join(
            f"{job}/{identifier}" for job, ids in silent.items() for identifier in ids
        )
        self._alert("instances with timed out agents", source=deployment, summary=names)
        if not self._config.resurrection:
            return
        if self._roster.health(deployment, datetime.now(UTC)) is DeploymentHealth.MELTDOWN:
            self._alert("we are in meltdown", source=deployment, summary=f"left alone: {names}")
            return
        try:
            if not await self._director.mends(deployment):
                await self._director.scan_and_fix(deployment, silent)
                self._resurrections += 1
                self._alert("scan unresponsive VMs", source=deployment, summary=names)
        except DirectorFailed as error:
            self._alert("not mended", source=deployment, summary=str(error))

    async def _write(self) -> None:
        while True:
            self._write_now()
            await asyncio.sleep(self._config.analyze_interval / _WRITES_PER_LOOK)

    def _write_now(self) -> None:
        now = datetime.now(UTC)
        roster.write_status(
            Path(self._config.status_file),
            MonitorStatus(
                written_at=now,
                connected=self._bus.connected,
                heartbeats=self._roster.heartbeats,
                resurrections=self._resurrections,
                agents=self._roster.agents(now),
                deployments=self._roster.deployments(now),
                alerts=tuple(self._alerts),
            ),
        )

    def _alert(self, title: str, *, source: str, summary: str = "") -> None:
        self._alerts.append(
            MonitorAlert(created_at=datetime.now(UTC), title=title, source=source, summary=summary)
        )
        _log(f"{source}: {title}: {summary}")


async def run_monitor(config: HealthMonitorConfig) -> None:
    """Be the health monitor until its connection to NATS is given up."""
    async with MonitorDirectorApi(config) as director:
        await HealthMonitor(config, director).run()


def _tls_context(nats: MessageBus) -> ssl.SSLContext:
    """Return the context of the real one: TLS 1.2 and no other, OpenSSL's reading of the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=nats.ca)
    # Without a password OpenSSL would ask for that of an encrypted key on the terminal.
    context.load_cert_chain(nats.certificate, nats.private_key, password="")
    return context


def _log(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()
