"""Live ports: which one a URL means, and what a handshake with it shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from rollover.errors import SpecError, Unreachable
from rollover.fleet.certificate import Stack, Usage
from rollover.inspecting.found import (
    BOTH_STACKS,
    Finding,
    FoundCertificate,
    Kind,
    Live,
    Source,
    problem,
)
from rollover.pki.names import ip_address
from rollover.probe.handshake import probe
from rollover.probe.result import ClientVerdict, Failure, Handshake
from rollover.probe.target import Port, Target

TIMEOUT_SECONDS = 5.0


class _Scheme(NamedTuple):
    """The port that a scheme of a URL means, and its number when none is written (0: must be)."""

    port: Port
    number: int


_SCHEMES: Mapping[str, _Scheme] = MappingProxyType(
    {
        "https": _Scheme(Port.MONITORING, 443),
        "tls": _Scheme(Port.PLAIN, 0),
        "nats": _Scheme(Port.CLIENT, 4222),
        "ws": _Scheme(Port.WEBSOCKET, 443),
        "wss": _Scheme(Port.WEBSOCKET, 443),
        "mqtt": _Scheme(Port.MQTT, 8883),
        "mqtts": _Scheme(Port.MQTT, 8883),
        "nats-route": _Scheme(Port.ROUTE, 6222),
        "nats-gateway": _Scheme(Port.GATEWAY, 7222),
        "nats-leaf": _Scheme(Port.LEAFNODE, 7422),
    }
)
_AMONG_SERVERS = frozenset({Port.ROUTE, Port.GATEWAY, Port.LEAFNODE})
_DIAL_TOO = frozenset({Port.ROUTE, Port.GATEWAY})
_LONGEST_URL = 2048
_LONGEST_SCHEME = 20


def is_url(text: str) -> bool:
    """Say whether a target is the URL of a port, and no file."""
    return "://" in text


def target_of(url: str, *, server_name: str = "") -> Target:
    """Return what to dial; `SpecError` for a URL that names no port. A user in it is left out."""
    scheme, host, number = _parts(url)
    found = _SCHEMES.get(scheme)
    if found is None:
        raise SpecError(
            f"`{scheme}://` is not known",
            hint=f"known are {', '.join(f'`{each}://`' for each in _SCHEMES)}",
        )
    number = number or found.number
    if not host or not number:
        raise SpecError(
            f"`{scheme}://{host}` names no {'port' if host else 'host'}",
            hint=f"write `{scheme}://HOST:PORT`",
        )
    shown = f"[{host}]" if ":" in host else host
    name = server_name or ("" if ip_address(host) is not None else host)
    return Target(address=f"{shown}:{number}", port=found.port, server_name=name)


def _parts(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port (0: none); what stands before an `@` may be a password."""
    if len(url) > _LONGEST_URL or not url.isprintable():
        raise _no_url(url)
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.hostname or "", parts.port or 0
    except ValueError:
        raise _no_url(url) from None


def _no_url(url: str) -> SpecError:
    scheme = url.partition("://")[0][:_LONGEST_SCHEME]
    return SpecError(
        f"a URL that begins with `{scheme if scheme.isprintable() else '?'}` cannot be read",
        hint="write `SCHEME://HOST:PORT`",
    )


def read_port(
    url: str, *, server_name: str = "", timeout_seconds: float = TIMEOUT_SECONDS
) -> Finding:
    """Return what a port shows to somebody who presents no certificate."""
    target = target_of(url, server_name=server_name)
    name = f"{urlsplit(url).scheme}://{target.address}"
    shown = _shake(target, timeout_seconds)
    if not shown.presented:
        return problem(_silent(name, shown), transient=True)
    stacks = (Stack.GO,) if shown.kind in _AMONG_SERVERS else BOTH_STACKS
    usages = (Usage.SERVER, Usage.CLIENT) if shown.kind in _DIAL_TOO else (Usage.SERVER,)
    expected = server_name or target.address.rpartition(":")[0].strip("[]")
    return Source(
        name=name,
        kind=Kind.PORT,
        certificates=tuple(FoundCertificate(each, name) for each in shown.presented),
        chain=shown.presented,
        usages=usages,
        stacks=stacks,
        expected_name=expected,
        live=_live(shown),
    )


def _shake(target: Target, timeout_seconds: float) -> Handshake:
    """Shake hands, and once more when the port turns out to begin in another way."""
    shown = probe(target, timeout_seconds=timeout_seconds)
    if shown.presented or not shown.reached:
        return shown
    again = None
    if target.port is Port.PLAIN and shown.failure in {Failure.NOT_TLS, Failure.PROTOCOL}:
        # `tls://` is also what clients of NATS write, whose port greets before TLS.
        again = msgspec.structs.replace(target, port=Port.CLIENT)
    if target.greets_in_clear and shown.failure is Failure.TIMEOUT:
        again = msgspec.structs.replace(target, handshake_first=True)
    if again is None:
        return shown
    second = probe(again, timeout_seconds=timeout_seconds)
    return second if second.presented else shown


def _live(shown: Handshake) -> Live:
    asked = shown.client_verdict in {ClientVerdict.ACCEPTED, ClientVerdict.REFUSED}
    return Live(
        port=shown.kind.value,
        protocol=shown.protocol,
        cipher=shown.cipher,
        asks_for_certificate=asked or bool(shown.advertised),
        advertised=shown.advertised,
        refused=shown.alert if shown.client_verdict is ClientVerdict.REFUSED else "",
    )


def _silent(name: str, shown: Handshake) -> Unreachable:
    reason = shown.detail or shown.alert or "it presented no certificate"
    if not shown.reached:
        hint = "check host and port, and that the server runs"
        return Unreachable(reason, system=name, operation="connect", hint=hint)
    return Unreachable(
        reason,
        system=name,
        operation="handshake",
        hint="check address and scheme: `tls://` begins with TLS at once, `nats://` after an INFO",
    )
