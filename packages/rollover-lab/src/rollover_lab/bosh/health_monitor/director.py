"""The health monitor's view of the director: who is there, and `scan_and_fix`."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Generator, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from rollover_lab.bosh.health_monitor.roster import DeploymentLine, InstanceLine, Silent
from rollover_lab.bosh.rendered import HealthMonitorConfig, User

_TIMEOUT_SECONDS: Final = 30.0
_SCAN_AND_FIX: Final = "scan and fix"

T = TypeVar("T")


class DirectorFailed(Exception):
    """The director does not answer, or not as it should."""


class _Task(msgspec.Struct, frozen=True):
    description: str = ""


class DirectorApi:
    """A connection to the API, by password or by tokens; an asynchronous context manager."""

    def __init__(self, config: HealthMonitorConfig) -> None:
        # Its CA is named; nothing of the environment (proxies, certificate stores) has a say.
        context = ssl.create_default_context(cadata=Path(config.director_ca).read_text("ascii"))
        self._client = httpx2.AsyncClient(
            base_url=config.director,
            auth=_auth(config),
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


class _Token(msgspec.Struct, frozen=True):
    access_token: str


class _Tokens(httpx2.Auth):
    """A token of a UAA (RFC 6749 §4.4), kept until the director does not take it any more."""

    requires_response_body = True

    def __init__(self, uaa: str, client: User) -> None:
        pair = base64.b64encode(f"{client.name}:{client.password}".encode()).decode()
        self._asking = httpx2.Request(
            "POST",
            f"{uaa}/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {pair}", "Accept": "application/json"},
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


def _auth(config: HealthMonitorConfig) -> httpx2.Auth:
    if config.uaa is None:
        return httpx2.BasicAuth(config.user.name, config.user.password)
    return _Tokens(config.uaa, config.user)


_INSTANCES: Final = list[InstanceLine]
