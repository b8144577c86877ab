"""TLS to a server whose certificate must be trusted and bear the right name."""

from __future__ import annotations

from rollover.pki.certificate import parse_der
from rollover.pki.names import covers
from rollover.probe.contexts import Contexts, Trust
from rollover.probe.identity import Identity
from rollover.probe.stream import Deadline, TcpStream, TlsBroken, TlsStream

_HOSTNAME_MISMATCH = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""


def secure(
    carrier: TcpStream,
    *,
    identity: Identity | None,
    trust: Trust | bytes,
    server_name: str,
    deadline: Deadline,
) -> TlsStream:
    """Shake hands over `carrier` and return the stream; nothing was sent inside it yet.

    With `Trust.ANYONE` neither chain nor name is checked. Raises `TlsBroken`.
    """
    tls = TlsStream(carrier, Contexts().get(identity, trust=trust), server_name=server_name)
    tls.handshake(deadline)
    if trust is not Trust.ANYONE:
        _check_name(tls, server_name)
    return tls


def _check_name(tls: TlsStream, expected: str) -> None:
    names = parse_der(tls.served()[0], place="the server's certificate").names
    if not covers(names, expected):
        raise TlsBroken(
            f"it names {', '.join(names) or 'nothing'}, not `{expected}`",
            alert="",
            distrust=_HOSTNAME_MISMATCH,
        )
