"""Who gets which token: the rules of a UAA for the three grants that a director's users need."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from rollover_lab.bosh.rendered import Client, Member, UaaConfig
from rollover_lab.bosh.uaa.tokens import BadToken, Claims, refresh_id, signed, verified

BEARER = "bearer"
_OPEN = frozenset({"openid"})
"""What everybody may be given whose client asks for it."""


class Refused(Exception):
    """No token. With the status, the code and the words of the answer (RFC 6749 §5.2)."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token request brings."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    jti: str
    refresh_token: str = ""


def bad_credentials() -> Refused:
    """Return the refusal of a client or a person with a wrong secret."""
    return Refused(401, "unauthorized", "Bad credentials")


class Grants:
    """Gives tokens to the clients and the people of one configuration."""

    def __init__(self, config: UaaConfig, key: RSAPrivateKey) -> None:
        self._config = config
        self._key = key
        self._clients = {each.name: each for each in config.clients}
        self._members = {each.name: each for each in config.members}

    def answer(
        self, client_name: str, secret: str, form: Mapping[str, str], *, now: datetime
    ) -> Answer:
        """Return the tokens for a request; `Refused`."""
        client = self._clients.get(client_name)
        if client is None or not _same(client.secret, secret):
            raise bad_credentials()
        grant = form.get("grant_type", "")
        if grant not in {"client_credentials", "password", "refresh_token"}:
            raise Refused(400, "unsupported_grant_type", f"Unsupported grant type: {grant}")
        if grant not in client.grants:
            raise Refused(401, "unauthorized_client", f"Unauthorized grant type: {grant}")
        if grant == "client_credentials":
            return self._tokens(client, None, client.scope, now=now)
        name = self._refreshed(form, client, now=now) if grant == "refresh_token" else None
        member = self._members.get(name) if name is not None else self._person(form)
        if member is None:
            raise bad_credentials()
        allowed = {*member.groups, *_OPEN}
        scope = tuple(each for each in client.scope if each in allowed)
        return self._tokens(client, member, scope, now=now)

    def _person(self, form: Mapping[str, str]) -> Member | None:
        member = self._members.get(form.get("username", ""))
        if member is None or not _same(member.password, form.get("password", "")):
            return None
        return member

    def _refreshed(self, form: Mapping[str, str], client: Client, *, now: datetime) -> str:
        """Return whose refresh token it is."""
        try:
            claims = verified(form.get("refresh_token", ""), self._key.public_key(), now=now)
        except BadToken as error:
            raise _no_token(str(error)) from None
        if not claims.refreshes or claims.client_id != client.name or claims.user_name is None:
            raise _no_token("it is no refresh token of this client")
        return claims.user_name

    def _tokens(
        self, client: Client, member: Member | None, scope: tuple[str, ...], *, now: datetime
    ) -> Answer:
        claims = Claims(
            jti=secrets.token_hex(16),
            client_id=client.name,
            user_name=member.name if member is not None else None,
            scope=scope,
            iss=f"{self._config.url}/oauth/token",
            iat=now.timestamp(),
            exp=now.timestamp() + client.access_seconds,
        )
        refreshable = member is not None and "refresh_token" in client.grants
        return Answer(
            access_token=signed(claims, self._key),
            token_type=BEARER,
            expires_in=int(client.access_seconds),
            scope=" ".join(scope),
            jti=claims.jti,
            refresh_token=self._refresh(claims, client) if refreshable else "",
        )

    def _refresh(self, claims: Claims, client: Client) -> str:
        ends = claims.iat + client.refresh_seconds
        later = msgspec.structs.replace(claims, jti=refresh_id(claims.jti), exp=ends)
        return signed(later, self._key)


def _no_token(why: str) -> Refused:
    text = f"The token expired, was revoked, or the token ID is incorrect: {why}"
    return Refused(401, "invalid_token", text)


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode())
