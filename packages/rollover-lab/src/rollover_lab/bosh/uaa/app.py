"""The HTTP interface of the UAA, as the bosh CLI and jobs of the director VM use it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rollover_lab.bosh.uaa.grants import Grants, Refused, bad_credentials

VERSION = "78.5.0"
BODY_LIMIT = 64 * 1024
_MOST_FIELDS = 32
_FORM = "application/x-www-form-urlencoded"


def make(grants: Grants) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            Route("/oauth/token", _token, methods=["POST"]),
            Route("/login", _login),
            Route("/info", _login),
        ],
        exception_handlers={Refused: _refused},
    )
    app.state.grants = grants
    return app


async def _token(request: Request) -> Response:
    """Give a token to a client that names itself by Basic authentication."""
    grants: Grants = request.app.state.grants
    name, secret = _client(request)
    answer = grants.answer(name, secret, await _form(request), now=datetime.now(UTC))
    return _json(answer)


async def _login(_request: Request) -> Response:
    """Say what people have to be asked for, the kind and the label of each."""
    prompts = {"username": ["text", "Email"], "password": ["password", "Password"]}
    return _json({"app": {"version": VERSION}, "prompts": prompts})


def _client(request: Request) -> tuple[str, str]:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        pair = base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise bad_credentials() from None
    if scheme.lower() != "basic":
        raise bad_credentials()
    name, _, secret = pair.partition(":")
    return name, secret


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise Refused(413, "invalid_request", f"more than {BODY_LIMIT} octets")
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != _FORM:
        raise Refused(415, "invalid_request", f"Content-Type is not `{_FORM}`")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise Refused(400, "invalid_request", "a form that cannot be read") from None


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    body = {"error": error.code, "error_description": error.description}
    return _json(body, status=error.status)


def _json(document: object, *, status: int = 200) -> Response:
    # RFC 6749 §5.1: nobody on the way keeps a token.
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
