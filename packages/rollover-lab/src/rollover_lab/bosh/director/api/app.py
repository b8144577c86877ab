"""The API as an ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rollover_lab.bosh.director.api import about, changes, configs, deployments, tasks
from rollover_lab.bosh.director.api.calls import answer, user_of
from rollover_lab.bosh.director.expiry import Expiries
from rollover_lab.bosh.director.refusals import DirectorError
from rollover_lab.bosh.director.work import Director
from rollover_lab.bosh.director.workers import Workers

_OPEN_PATH = "/info"
_NOT_FOUND = frozenset({404, 405})
"""To Sinatra a method that a path does not have is a path that it does not have."""


def make(director: Director, workers: Workers, expiries: Expiries) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            *about.ROUTES,
            *tasks.ROUTES,
            *configs.ROUTES,
            *deployments.ROUTES,
            *changes.ROUTES,
        ],
        middleware=[Middleware(_Authentication)],
        exception_handlers={DirectorError: _refused, HTTPException: _not_served},
    )
    app.router.redirect_slashes = False
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
