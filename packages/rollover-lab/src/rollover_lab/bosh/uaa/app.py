"""The UAA of a lab: grants tokens to its clients and users, and signs them."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rollover_lab.bosh.job_config import Client, UaaConfig, UaaUser

# Tokens as a UAA makes them and a director judges them: JWT, signed with RS256 (RFC 7519, 7515).


LONGEST = 16 * 1024
"""Octets of a token that is looked at."""
_ALGORITHM = "RS256"
_HEADER = msgspec.json.encode({"alg": _ALGORITHM, "typ": "JWT"})
_PARTS = 3
_REFRESH = "-r"


class BadToken(Exception):
    """A token that does not count, and why."""


class _Header(msgspec.Struct, frozen=True):
    alg: str


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says. `exp` and `iat` are in seconds of the epoch."""

    jti: str
    """Its own id; that of a refresh token ends with `-r`, as with the real UAA."""
    client_id: str
    user_name: str | None = None
    """None: the client acts for itself."""
    scope: tuple[str, ...] = ()
    iss: str
    iat: float
    exp: float

    @property
    def refreshes(self) -> bool:
        """Whether it only gets other tokens."""
        return self.jti.endswith(_REFRESH)


def refresh_id_of(identifier: str) -> str:
    """Return the id of a refresh token."""
    return f"{identifier}{_REFRESH}"


def sign_token(claims: Claims, key: RSAPrivateKey) -> str:
    """Return the token."""
    text = f"{_encoded(_HEADER)}.{_encoded(msgspec.json.encode(claims))}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{_encoded(signature)}"


def verify_token(token: str, key: RSAPublicKey, *, now: datetime) -> Claims:
    """Return what a token says; `BadToken` when it is none, another's, or has expired."""
    parts = token.split(".")
    if len(token) > LONGEST or len(parts) != _PARTS:
        raise BadToken("it is no token")
    try:
        header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
        claims = msgspec.json.decode(_decoded(parts[1]), type=Claims)
        signature = _decoded(parts[2])
        text = f"{parts[0]}.{parts[1]}".encode("ascii")
    except (msgspec.MsgspecError, ValueError):
        raise BadToken("it is no token") from None
    if header.alg != _ALGORITHM:
        raise BadToken(f"it is not signed with {_ALGORITHM}")
    try:
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise BadToken("somebody else has signed it") from None
    if now.timestamp() >= claims.exp:
        raise BadToken("it has expired")
    return claims


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


BEARER = "bearer"
_OPEN = frozenset({"openid"})
"""What everybody may be given whose client asks for it."""


class GrantRefused(Exception):
    """No token. With the status, the code and the words of the answer (RFC 6749 §5.2)."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token request brings."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    jti: str
    refresh_token: str = ""


def bad_credentials() -> GrantRefused:
    """Return the refusal of a client or a person with a wrong secret."""
    return GrantRefused(401, "unauthorized", "Bad credentials")


class Grants:
    """Gives tokens to the clients and the people of one configuration, by three kinds of grant."""

    def __init__(self, config: UaaConfig, key: RSAPrivateKey) -> None:
        self._config = config
        self._key = key
        self._clients = {client.name: client for client in config.clients}
        self._members = {member.name: member for member in config.members}

    def answer(
        self, client_name: str, secret: str, form: Mapping[str, str], *, now: datetime
    ) -> TokenAnswer:
        """Return the tokens for a request; `GrantRefused`."""
        client = self._clients.get(client_name)
        if client is None or not _same(client.secret, secret):
            raise bad_credentials()
        grant = form.get("grant_type", "")
        if grant not in {"client_credentials", "password", "refresh_token"}:
            raise GrantRefused(400, "unsupported_grant_type", f"Unsupported grant type: {grant}")
        if grant not in client.grants:
            raise GrantRefused(401, "unauthorized_client", f"Unauthorized grant type: {grant}")
        if grant == "client_credentials":
            return self._tokens(client, None, client.scope, now=now)
        if grant == "refresh_token":
            member = self._members.get(self._refreshed(form, client, now=now))
        else:
            member = self._person(form)
        if member is None:
            raise bad_credentials()
        allowed = {*member.groups, *_OPEN}
        scope = tuple(name for name in client.scope if name in allowed)
        return self._tokens(client, member, scope, now=now)

    def _person(self, form: Mapping[str, str]) -> UaaUser | None:
        member = self._members.get(form.get("username", ""))
        if member is None or not _same(member.password, form.get("password", "")):
            return None
        return member

    def _refreshed(self, form: Mapping[str, str], client: Client, *, now: datetime) -> str:
        """Return whose refresh token it is."""
        try:
            claims = verify_token(form.get("refresh_token", ""), self._key.public_key(), now=now)
        except BadToken as error:
            raise _no_token(str(error)) from None
        if not claims.refreshes or claims.client_id != client.name or claims.user_name is None:
            raise _no_token("it is no refresh token of this client")
        return claims.user_name

    def _tokens(
        self, client: Client, member: UaaUser | None, scope: tuple[str, ...], *, now: datetime
    ) -> TokenAnswer:
        claims = Claims(
            jti=secrets.token_hex(16),
            client_id=client.name,
            user_name=member.name if member is not None else None,
            scope=scope,
            iss=f"{self._config.url}/oauth/token",
            iat=now.timestamp(),
            exp=now.timestamp() + client.access_seconds,
        )
        refreshing = msgspec.structs.replace(
            claims, jti=refresh_id_of(claims.jti), exp=claims.iat + client.refresh_seconds
        )
        refreshable = member is not None and "refresh_token" in client.grants
        return TokenAnswer(
            access_token=sign_token(claims, self._key),
            token_type=BEARER,
            expires_in=int(client.access_seconds),
            scope=" ".join(scope),
            jti=claims.jti,
            refresh_token=sign_token(refreshing, self._key) if refreshable else "",
        )


def _no_token(why: str) -> GrantRefused:
    text = f"The token expired, was revoked, or the token ID is incorrect: {why}"
    return GrantRefused(401, "invalid_token", text)


def _same(secret: str, presented: str) -> bool:
    return hmac.compare_digest(secret.encode(), presented.encode())


VERSION = "78.5.0"
BODY_LIMIT = 64 * 1024
_MOST_FIELDS = 32
_FORM = "application/x-www-form-urlencoded"


def make_app(grants: Grants) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            Route("/oauth/token", _token, methods=["POST"]),
            Route("/login", _login),
            Route("/info", _login),
        ],
        exception_handlers={GrantRefused: _refusal_response},
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
        credentials = base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise bad_credentials() from None
    if scheme.lower() != "basic":
        raise bad_credentials()
    name, _, secret = credentials.partition(":")
    return name, secret


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise GrantRefused(413, "invalid_request", f"more than {BODY_LIMIT} octets")
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != _FORM:
        raise GrantRefused(415, "invalid_request", f"Content-Type is not `{_FORM}`")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise GrantRefused(400, "invalid_request", "a form that cannot be read") from None


async def _refusal_response(_request: Request, error: Exception) -> Response:
    if not isinstance(error, GrantRefused):
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
