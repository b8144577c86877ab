"""Logging in to a director: with a password of its own, or with tokens of a UAA."""

from __future__ import annotations

import base64
from contextlib import suppress
from threading import Lock
from urllib.parse import urlencode

import msgspec

from rollover.errors import Denied, Rejected, SpecError
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.http import Answer, Http, Request
from rollover.platforms.bosh.saved_login import Login, Saved

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
_FORM = "application/x-www-form-urlencoded"
_BEARER = "bearer"
CLI_CLIENT = "bosh_cli"
"""The client, without a secret, for which users of the bosh CLI log in (`cmd/session.go`)."""


class _Token(msgspec.Struct):
    access_token: str
    token_type: str = _BEARER
    refresh_token: str = ""


class Basic:
    """Client and secret with every call; there is never another header."""

    def __init__(self, client: str, secret: SecretBytes) -> None:
        self._pair = SecretBytes(client.encode() + b":" + secret.reveal())

    def header(self, *, refused: str = "") -> str:  # noqa: ARG002 - there is only one
        """Return the header."""
        return f"Basic {base64.b64encode(self._pair.reveal()).decode()}"


class Tokens:
    """A token for client and secret, kept until it is refused (RFC 6749 §4.4).

    `http` calls the UAA. Raises `Denied` when it does not take the client.
    """

    def __init__(self, http: Http, *, client: str, secret: SecretBytes) -> None:
        self._http = http
        self._client = client
        self._basic = Basic(client, secret)
        self._lock = Lock()
        self._kept = SecretBytes(b"")

    def header(self, *, refused: str = "") -> str:
        """Return the header with the kept token, or with a new one if that one was refused."""
        with self._lock:
            kept = self._kept.reveal().decode()
            if not kept or kept == refused:
                kept = self._granted()
                self._kept = SecretBytes(kept.encode())
            return kept

    def _granted(self) -> str:
        form = urlencode({"grant_type": "client_credentials"}).encode()
        request = Request(method="POST", path=TOKEN_PATH, body=form, content_type=_FORM)
        about = {"system": self._http.system, "operation": request.operation}
        try:
            answer = self._http.send(request, self._basic)
        except Denied as error:
            raise Denied(
                f"the client `{self._client}` gets no token: {error.message}",
                hint="name a UAA client with `--client` and give its secret; a user logs in with "
                "`bosh log-in` instead, and is not named",
                **about,
            ) from None
        token = _token(answer, **about)
        return f"{token.token_type} {token.access_token}"


class UserTokens:
    """The token of a user who logged in with the bosh CLI, refreshed when it is refused.

    Other commands may refresh it at the same time, so its refresh token is read anew each time
    (RFC 6749 §6). The file is written only when the UAA gave another refresh token for the one
    that was used. Raises `Denied` when the login is over.
    """

    def __init__(self, http: Http, login: Login) -> None:
        self._http = http
        self._login = login
        self._client = Basic(CLI_CLIENT, SecretBytes(b""))
        self._lock = Lock()
        self._kept = Saved()

    def header(self, *, refused: str = "") -> str:
        """Return the header with the token that is at hand, or with another one than `refused`."""
        with self._lock:
            if not self._kept.access_token.reveal():
                self._kept = self._login.now()
            if not self._kept.access_token.reveal() or _header(self._kept) == refused:
                self._kept = self._refreshed()
            return _header(self._kept)

    def _refreshed(self) -> Saved:
        former = self._login.now().refresh_token
        former = former if former.reveal() else self._kept.refresh_token
        query = {"grant_type": "refresh_token", "refresh_token": former.reveal().decode()}
        request = Request(
            method="POST", path=TOKEN_PATH, body=urlencode(query).encode(), content_type=_FORM
        )
        about = {"system": self._http.system, "operation": request.operation}
        try:
            answer = self._http.send(request, self._client)
        except (Denied, Rejected) as error:
            raise Denied(
                f"the login in `{self._login.path}` is over: {error.message}",
                hint=f"log in again: `bosh -e {self._login.environment} log-in`; for a long run "
                "name a UAA client, whose token never ends for good",
                **about,
            ) from None
        token = _token(answer, **about)
        another = SecretBytes(token.refresh_token.encode())
        saved = Saved(
            access_token_type=token.token_type,
            access_token=SecretBytes(token.access_token.encode()),
            refresh_token=another if token.refresh_token else former,
        )
        if saved.refresh_token != former:
            # Without it this run goes on, and only the next login has to be made anew.
            with suppress(OSError, SpecError):
                self._login.keep(former, saved)
        return saved


def _header(saved: Saved) -> str:
    return f"{saved.access_token_type or _BEARER} {saved.access_token.reveal().decode()}"


def _token(answer: Answer, *, system: str, operation: str) -> _Token:
    try:
        return msgspec.json.decode(answer.body, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Rejected(
            "an answer that holds no token", system=system, operation=operation
        ) from None
