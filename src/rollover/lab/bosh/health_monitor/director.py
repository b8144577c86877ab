"""The health monitor's view of the director: who is there, and `scan_and_fix`."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from rollover.lab.bosh.configs import HealthMonitorConfig
from rollover.lab.bosh.health_monitor.roster import DeploymentLine, InstanceLine, Silent

_TIMEOUT_SECONDS: Final = 30.0
_SCAN_AND_FIX: Final = "scan and fix"

T = TypeVar("T")


class DirectorFailed(Exception):
    """The director does not answer, or not as it should."""


class _Task(msgspec.Struct, frozen=True):
    description: str = ""


class DirectorApi:
    """A connection to the API with basic authentication; an asynchronous context manager."""

    def __init__(self, config: HealthMonitorConfig) -> None:
        # Its CA is named; nothing of the environment (proxies, certificate stores) has a say.
        context = ssl.create_default_context(cadata=Path(config.director_ca).read_text("ascii"))
        self._client = httpx2.AsyncClient(
            base_url=config.director,
            auth=(config.user.name, config.user.password),
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
            (each, await self._get(f"/deployments/{quote(each.name)}/instances", _INSTANCES))
            for each in deployments
        ]

    async def mends(self, deployment: str) -> bool:
        """Say whether a `scan_and_fix` of a deployment waits or runs already."""
        query = f"deployment={quote(deployment)}&state=queued,processing&verbose=2"
        tasks = await self._get(f"/tasks?{query}", list[_Task])
        return any(each.description == _SCAN_AND_FIX for each in tasks)

    async def scan_and_fix(self, deployment: str, silent: Silent) -> None:
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


_INSTANCES: Final = list[InstanceLine]
