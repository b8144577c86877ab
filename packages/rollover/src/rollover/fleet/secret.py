"""Private keys on their way: bytes that do not show themselves, and texts cleared of keys."""

from __future__ import annotations

import hmac
import re
from typing import NoReturn, final

REDACTED = "[private key left out]"

_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_TAIL_OF_BLOCK = re.compile(r"\A.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
_MARKER = re.compile(
    r"-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY-----"
    # The same first line in base64, as Kubernetes secrets and environment variables carry it.
    r"|LS0tLS1CRUdJTiB(?:QUklWQVRFIEtFWS|SU0EgUFJJVkFURS|FQyBQUklWQVRFI|FTkNSWVBURUQg)"
)
_SHORTEST_TELLING_LINE = 16
"""Shorter lines of a key (`-----`, a last line of padding) stand in harmless texts too."""


@final
class SecretBytes:
    """Bytes that never show in a repr, a log, a format string, a pickle or encoded JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes: call it only where they are used up (sealing, signing, a 0600 file)."""
        return self._value

    def __repr__(self) -> str:
        return "SecretBytes(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, format_spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretBytes) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((SecretBytes, self._value))

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: object) -> SecretBytes:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "secret bytes are never pickled"
        raise TypeError(message)


def holds_private_key(text: str | bytes) -> bool:
    """Say whether a text holds the PEM marker of a private key, plain or in base64."""
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    return _MARKER.search(plain) is not None


def redacted(text: str, *, secrets: tuple[SecretBytes, ...] = ()) -> str:
    """Return the text without PEM private keys, whole or cut, and without any line of `secrets`."""
    cleared = _BLOCK.sub(REDACTED, text)
    cleared = _TAIL_OF_BLOCK.sub(REDACTED, cleared)
    for line in _telling_lines(secrets):
        cleared = cleared.replace(line, REDACTED)
    return REDACTED if holds_private_key(cleared) else cleared


def _telling_lines(secrets: tuple[SecretBytes, ...]) -> frozenset[str]:
    lines = (line for secret in secrets for line in secret.reveal().decode("latin-1").splitlines())
    return frozenset(
        line.strip()
        for line in lines
        if len(line.strip()) >= _SHORTEST_TELLING_LINE and not line.startswith("-----")
    )
