"""The director's API as one application: routes, who is logged in, and what it says of itself."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rollover_lab.bosh.director.api import configs, deployments, tasks
from rollover_lab.bosh.director.api.calls import (
    answer,
    director_of,
    empty,
    json_body,
    parts_in_use,
    user_of,
)
from rollover_lab.bosh.director.credentials import VariableExpiries
from rollover_lab.bosh.director.records import CPI, UploadedRelease
from rollover_lab.bosh.director.refusals import DirectorError
from rollover_lab.bosh.director.work import LabDirector
from rollover_lab.bosh.director.workers import Workers


class _Resurrection(msgspec.Struct, frozen=True):
    resurrection_paused: bool


async def info(request: Request) -> Response:
    """Say who this director is; the only call without authentication."""
    config = director_of(request).config
    uaa = config.uaa
    authentication = (
        {"type": "basic", "options": {}}
        if uaa is None
        else {"type": "uaa", "options": {"url": uaa.url, "urls": [uaa.url]}}
    )
    return answer(
        {
            "name": config.name,
            "uuid": config.uuid,
            "version": config.version,
            "user": user_of(request),
            "cpi": CPI,
            "stemcell_os": "-",
            "stemcell_version": "-",
            "user_authentication": authentication,
            "features": {
                "local_dns": {"status": True, "extras": {"domain_name": "bosh"}},
                "snapshots": {"status": False},
                "config_server": {"status": False, "extras": {"urls": []}},
            },
        }
    )


async def stemcells(request: Request) -> Response:
    """List stemcells with the deployments that use them."""
    director = director_of(request)
    used = {
        deployment.name: parts_in_use(director, deployment)
        for deployment in director.deployments.all()
    }
    return answer(
        [
            msgspec.to_builtins(stemcell)
            | {
                "deployments": [
                    {"name": name} for name, parts in used.items() if stemcell in parts.stemcells
                ]
            }
            for stemcell in director.stock.stemcells()
        ]
    )


async def releases(request: Request) -> Response:
    """List releases with their versions."""
    director = director_of(request)
    used = {
        (release.name, release.version)
        for deployment in director.deployments.all()
        for release in parts_in_use(director, deployment).releases
    }
    versions: dict[str, list[dict[str, object]]] = defaultdict(list)
    for release in director.stock.releases():
        deployed = (release.name, release.version) in used
        versions[release.name].append(_version(release, deployed=deployed))
    return answer([{"name": name, "release_versions": found} for name, found in versions.items()])


def _version(release: UploadedRelease, *, deployed: bool) -> dict[str, object]:
    return {
        "version": release.version,
        "commit_hash": release.commit_hash,
        "uncommitted_changes": False,
        "currently_deployed": deployed,
        "job_names": list(release.jobs),
    }


async def locks(request: Request) -> Response:
    """List the locks that tasks hold."""
    return answer(director_of(request).locks.all())


async def events(request: Request) -> Response:
    """List events, the newest first."""
    return answer(director_of(request).history.find(dict(request.query_params)))


async def event(request: Request) -> Response:
    """Show one event."""
    found = director_of(request).history.get(request.path_params["id"])
    return PlainTextResponse("Event not found", 404) if found is None else answer(found)


async def certificate_expiry(request: Request) -> Response:
    """Say when certificates of the director end."""
    expiries: VariableExpiries = request.app.state.expiries
    return answer(expiries.at(datetime.now(UTC)))


async def resurrection(request: Request) -> Response:
    """Say whether the resurrector may act."""
    return answer({"resurrection": not director_of(request).facts.resurrection_paused})


async def update_resurrection(request: Request) -> Response:
    """Forbid or allow the resurrector to act."""
    wanted = await json_body(request, _Resurrection)
    director_of(request).facts.pause_resurrection(paused=wanted.resurrection_paused)
    return empty()


ABOUT_ROUTES = (
    Route("/info", info),
    Route("/stemcells", stemcells),
    Route("/releases", releases),
    Route("/locks", locks),
    Route("/events", events),
    Route("/events/{id}", event),
    Route("/director/certificate_expiry", certificate_expiry),
    Route("/resurrection", resurrection),
    Route("/resurrection", update_resurrection, methods=["PUT"]),
)


_OPEN_PATH = "/info"
_NOT_FOUND = frozenset({404, 405})
"""To Sinatra a method that a path does not have is a path that it does not have."""


def make_app(director: LabDirector, workers: Workers, expiries: VariableExpiries) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            *ABOUT_ROUTES,
            *tasks.TASK_ROUTES,
            *configs.CONFIG_ROUTES,
            *deployments.DEPLOYMENT_ROUTES,
            *tasks.CHANGE_ROUTES,
        ],
        middleware=[Middleware(_Authentication)],
        exception_handlers={DirectorError: _refused, HTTPException: _not_served},
    )
    app.router.redirect_slashes = False  # a path with a slash at its end is another path
    app.state.director = director
    app.state.workers = workers
    app.state.expiries = expiries
    return app


class _Authentication:
    """Lets nobody in without a password or a token that counts, except to `/info`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != _OPEN_PATH:
            request = Request(scope)
            if user_of(request) is None:
                refusal = PlainTextResponse(
                    f"Not authorized: '{request.url.path}'\n",
                    401,
                    {"WWW-Authenticate": 'Basic realm="BOSH Director"'},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, DirectorError):
        raise error
    return answer({"code": error.number, "description": error.message}, status=error.status)


async def _not_served(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code in _NOT_FOUND:
        return PlainTextResponse(f"Endpoint '{request.url.path}' not found.", 404)
    raise error
