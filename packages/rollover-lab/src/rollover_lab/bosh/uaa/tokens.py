"""Tokens as a UAA makes them and a director judges them: JWT, signed with RS256 (RFC 7519, 7515).

Pure: keys and times come in.
"""

from __future__ import annotations

import base64
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

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


def refresh_id(identifier: str) -> str:
    """Return the id of a refresh token."""
    return f"{identifier}{_REFRESH}"


def signed(claims: Claims, key: RSAPrivateKey) -> str:
    """Return the token."""
    text = f"{_encoded(_HEADER)}.{_encoded(msgspec.json.encode(claims))}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{_encoded(signature)}"


def verified(token: str, key: RSAPublicKey, *, now: datetime) -> Claims:
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
