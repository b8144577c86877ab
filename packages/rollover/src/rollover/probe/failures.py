"""Turns what breaks below into the errors that a person can meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from rollover.errors import AdapterError, Denied, Rejected, TimedOut, Unreachable
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.stream import NotTls, TlsBroken

_DISTRUST = MappingProxyType(
    {
        9: "it is not yet valid",
        10: "it has expired",
        18: "it is self-signed and not in the trust bundle",
        19: "its root is not in the trust bundle",
        20: "its issuer is not in the trust bundle",
        21: "its issuer is not in the trust bundle, and it came alone",
        26: "it is not meant for servers",
        79: "an issuer in its chain is no CA",
    }
)
"""X509_V_ERR_… of OpenSSL's x509_vfy.h, the ones that servers run into."""


@contextmanager
def adapter_errors(*, system: str, operation: str) -> Iterator[None]:
    """Run a piece of a conversation; whatever breaks in it becomes an `AdapterError`."""
    try:
        yield
    except (OSError, BadProtocol) as error:
        raise _told(error, system=system, operation=operation) from error


def _told(error: OSError | BadProtocol, *, system: str, operation: str) -> AdapterError:
    match error:
        case TimeoutError():
            return TimedOut("no answer in time", system=system, operation=operation)
        case TlsBroken() if error.alert:
            return _refused_us(error, system=system, operation=operation)
        case TlsBroken() if error.distrust:
            return _refused_it(error, system=system, operation=operation)
        case NotTls() | TlsBroken() | BadProtocol():
            return Rejected(
                str(error),
                system=system,
                operation=operation,
                hint="check that the address is that of the right kind of port",
            )
        case _:
            return Unreachable(
                error.strerror or str(error),
                system=system,
                operation=operation,
                hint="check the address, and that the server runs",
            )


def _refused_us(error: TlsBroken, *, system: str, operation: str) -> Denied:
    return Denied(
        f"the server ended the TLS handshake with the alert `{error.alert}`",
        system=system,
        operation=operation,
        hint="present a certificate that the server's trust bundle covers",
    )


def _refused_it(error: TlsBroken, *, system: str, operation: str) -> Rejected:
    reason = _DISTRUST.get(error.distrust, f"{error} (verifier error {error.distrust})")
    return Rejected(
        f"the server's certificate is not trusted: {reason}",
        system=system,
        operation=operation,
        hint="give the CA that issued the server's certificate",
    )
