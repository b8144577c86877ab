"""Logging in to a director: with a password of its own, or with tokens of a UAA."""

from __future__ import annotations

import base64
from threading import Lock
from urllib.parse import urlencode

import msgspec

from rollover.errors import Denied, Rejected
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.http import Http, Request

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
_FORM = "application/x-www-form-urlencoded"
_BEARER = "bearer"


class _Token(msgspec.Struct):
    access_token: str
    token_type: str = _BEARER


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
                hint="name a UAA client with `--client` and give its secret; users who log in "
                "with a password cannot be used",
                **about,
            ) from None
        try:
            token = msgspec.json.decode(answer.body, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Rejected("an answer that holds no token", **about) from None
        return f"{token.token_type} {token.access_token}"
