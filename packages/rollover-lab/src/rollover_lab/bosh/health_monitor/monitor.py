"""The health monitor at work: hears, looks around every so often, and mends."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from rollover_lab.bosh.agent.bus import Behaviour, Bus
from rollover_lab.bosh.health_monitor import status
from rollover_lab.bosh.health_monitor.director import DirectorApi, DirectorFailed
from rollover_lab.bosh.health_monitor.roster import Roster, Silent
from rollover_lab.bosh.health_monitor.status import Alert, Health, MonitorStatus
from rollover_lab.bosh.rendered import HealthMonitorConfig, MessageBus

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


class Monitor:
    """What a health monitor knows and does."""

    def __init__(self, config: HealthMonitorConfig, director: DirectorApi) -> None:
        self._config = config
        self._director = director
        self._roster = Roster(agent_timeout=timedelta(seconds=config.agent_timeout))
        self._alerts: deque[Alert] = deque(maxlen=_KEPT_ALERTS)
        self._resurrections = 0
        self._bus = Bus(
            (f"nats://{config.nats.address}",),
            _context(config.nats),
            Behaviour(
                name="health monitor",
                delay=lambda _: RECONNECT_SECONDS,
                attempts=RECONNECT_ATTEMPTS,
                note=_note,
            ),
            subjects=(f"{HEARTBEAT}*", f"{ALERT}*", f"{SHUTDOWN}*", DIRECTOR_ALERT),
            deliver=self._hear,
        )

    async def run(self) -> None:
        """Work until the connection to NATS is given up."""
        parts = [
            asyncio.create_task(each) for each in (self._bus.run(), self._look(), self._write())
        ]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()  # a defect in one of them is not passed over
        finally:
            for each in parts:
                each.cancel()
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
            _note(f"an event that cannot be read, on {subject}")

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

    async def _mend(self, deployment: str, silent: Silent) -> None:
        names = ", ".join(f"{job}/{each}" for job, ids in silent.items() for each in ids)
        self._alert("instances with timed out agents", source=deployment, summary=names)
        if not self._config.resurrection:
            return
        if self._roster.health(deployment, datetime.now(UTC)) is Health.MELTDOWN:
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
        status.write(
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
            Alert(created_at=datetime.now(UTC), title=title, source=source, summary=summary)
        )
        _note(f"{source}: {title}: {summary}")


async def run(config: HealthMonitorConfig) -> None:
    """Be the health monitor until its connection to NATS is given up."""
    async with DirectorApi(config) as director:
        await Monitor(config, director).run()


def _context(nats: MessageBus) -> ssl.SSLContext:
    """Return the context of the real one: TLS 1.2 and no other, OpenSSL's reading of the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=nats.ca)
    context.load_cert_chain(nats.certificate, nats.private_key, password="")
    return context


def _note(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()
