"""Targets to findings: which reader a file, directory, stream or URL needs; live ports too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from rollover.certificates import inspect_files, inspect_pem
from rollover.certificates.inspect_files import (
    Binary,
    Opening,
    binary_format,
    holds_pem,
    read_binary,
    recognised,
)
from rollover.certificates.inspect_findings import (
    BOTH_STACKS,
    FoundCertificate,
    Inspected,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    LivePort,
    SourceKind,
    printable,
    problem_of,
    read_file,
    read_stream,
    walk,
)
from rollover.codec.strict_yaml import Document
from rollover.errors import ConfigError, RolloverError, SpecError, Unreachable
from rollover.fleet.certificate import Stack, Usage
from rollover.fleet.secret import SecretBytes
from rollover.pki.names import ip_address
from rollover.probe.handshake import ClientVerdict, Failure, Handshake, probe
from rollover.probe.target import Port, Target

# Live ports: which one a URL means, and what a handshake with it shows.

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
            hint=f"known are {', '.join(f'`{known}://`' for known in _SCHEMES)}",
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
) -> Inspected:
    """Return what a port shows to somebody who presents no certificate."""
    target = target_of(url, server_name=server_name)
    name = f"{urlsplit(url).scheme}://{target.address}"
    shown = _shake(target, timeout_seconds)
    if not shown.presented:
        return problem_of(_silent(name, shown), transient=True)
    stacks = (Stack.GO,) if shown.kind in _AMONG_SERVERS else BOTH_STACKS
    usages = (Usage.SERVER, Usage.CLIENT) if shown.kind in _DIAL_TOO else (Usage.SERVER,)
    expected = server_name or target.address.rpartition(":")[0].strip("[]")
    return InspectedSource(
        name=name,
        kind=SourceKind.PORT,
        certificates=tuple(FoundCertificate(certificate, name) for certificate in shown.presented),
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
    # A server with `handshake_first` waits for TLS while we wait for its greeting.
    if target.greets_in_clear and shown.failure is Failure.TIMEOUT:
        again = msgspec.structs.replace(target, handshake_first=True)
    if again is None:
        return shown
    second = probe(again, timeout_seconds=timeout_seconds)
    return second if second.presented else shown


def _live(shown: Handshake) -> LivePort:
    asked = shown.client_verdict in {ClientVerdict.ACCEPTED, ClientVerdict.REFUSED}
    return LivePort(
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


# Targets to findings: which reader a file, directory, stream or URL needs.

STANDARD_INPUT = "-"
READING_LIMIT = timedelta(seconds=60)
MOST_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Of YAML and JSON: a vars store of the largest foundations has about one million."""

_CONFIGURATIONS = (".conf", ".cfg")
_DOCUMENTS = (".yml", ".yaml", ".json")
_CERTIFICATES = (".pem", ".crt", ".cer", ".der", ".p7b", ".p7c", ".p12", ".pfx", ".key")
_PEM_AT_LINE_START = (b"-----BEGIN ", b"\xef\xbb\xbf-----BEGIN ")


class Ways(NamedTuple):
    """What reading depends on besides the targets."""

    environment: Mapping[str, str]
    working_directory: Path
    """That of the servers' processes: relative paths in nats.conf begin there."""
    password: SecretBytes = SecretBytes(b"")
    server_name: str = ""
    timeout_seconds: float = TIMEOUT_SECONDS


def read_targets(targets: Iterable[str], ways: Ways) -> Iterator[Inspected]:
    """Yield what all targets hold, in their order; what cannot be read is a problem, no error."""
    opening = Opening(ways.password, InspectionDeadline(READING_LIMIT))
    for target in targets:
        yield from _caught(_target(target, ways, opening))


def _caught(findings: Iterator[Inspected]) -> Iterator[Inspected]:
    try:
        yield from findings
    except RolloverError as error:
        yield problem_of(error)
    except RecursionError:
        yield problem_of(SpecError("nested too deeply to be read", hint="check what this file is"))


def _target(target: str, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    if target == STANDARD_INPUT:
        data = read_stream(sys.stdin.fileno(), deadline=opening.deadline)
        yield from _content(data, Path(STANDARD_INPUT), ways, opening)
    elif is_url(target):
        yield read_port(target, server_name=ways.server_name, timeout_seconds=ways.timeout_seconds)
    elif Path(target).is_dir():
        yield from _directory(Path(target), ways, opening)
    else:
        path = Path(target)
        yield from _content(read_file(path), path, ways, opening)


def _directory(directory: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    """Yield what its files hold; those which hold nothing of ours are passed over."""
    found = False
    for path in walk(directory):
        if isinstance(path, SpecError):
            yield problem_of(path)
            continue
        if opening.deadline.over:
            yield problem_of(_too_slow(path))
            return
        for finding in _quietly(path, ways, opening):
            found = True
            yield finding
    if not found:
        yield problem_of(
            SpecError(
                "no certificate in any of its files",
                place=str(directory),
                hint="name the files that should hold one",
            )
        )


def _too_slow(path: Path) -> SpecError:
    return SpecError(
        f"this and what follows was not read within {READING_LIMIT.total_seconds():.0f} s",
        place=printable(str(path)),
        hint="inspect fewer files at once",
    )


def _quietly(path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    """Yield what a file among many holds; a problem only where its name or content promises."""
    findings = list(_caught(_file_content(path, ways, opening)))
    promising = path.suffix.lower() in _CERTIFICATES
    for finding in findings:
        if promising or not isinstance(finding, InspectionProblem) or finding.code == "pem":
            yield finding


def _file_content(path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    # A generator, so that the file is read where its errors are caught.
    yield from _content(read_file(path), path, ways, opening)


def _content(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    name, suffix = printable(str(path)), path.suffix.lower()
    if not data.strip():
        raise SpecError("the file is empty", place=name, hint="write something into it")
    # The name decides first: a nats.conf and a YAML may hold PEM, too.
    if suffix in _CONFIGURATIONS:
        yield from _configuration(path, ways, opening)
    elif suffix in _DOCUMENTS:
        yield from _document_or_text(data, path, opening)
    elif binary_format(data) is not Binary.NONE and not holds_pem(data):
        yield from read_binary(data, name=name, opening=opening)
    elif suffix in _CERTIFICATES or _starts_a_line_with_pem(data):
        yield from _pem(data, name, opening)
    else:
        yield from _guessed(data, path, ways, opening)


def _starts_a_line_with_pem(data: bytes) -> bool:
    return data.startswith(_PEM_AT_LINE_START) or b"\n-----BEGIN " in data


def _pem(data: bytes, name: str, opening: Opening) -> Iterator[Inspected]:
    findings = list(inspect_pem.read_pem(data, name=name, deadline=opening.deadline))
    if not findings:
        raise _nothing(name, data)
    yield from findings


def _documents(data: bytes, path: Path, opening: Opening) -> Iterator[Inspected]:
    if len(data) > MOST_DOCUMENT_BYTES:
        raise SpecError(
            f"more than {MOST_DOCUMENT_BYTES:,} bytes of YAML or JSON",
            place=printable(str(path)),
            hint="split the file",
        )
    found = False
    for document in inspect_files.documents(data, place=printable(str(path))):
        for finding in _document(document, data, path, opening):
            found = True
            yield finding
    if not found:
        raise _nothing(printable(str(path)), data)


def _document_or_text(data: bytes, path: Path, opening: Opening) -> Iterator[Inspected]:
    """Yield what YAML holds; where it is refused (merges, tags), at least its PEM blocks."""
    try:
        yield from list(_documents(data, path, opening))
    except SpecError as error:
        if not holds_pem(data):
            raise
        for found in _pem(data, printable(str(path)), opening):
            if isinstance(found, InspectedSource):
                remark = f"read as text, because as YAML it is refused: {printable(str(error))}"
                yield msgspec.structs.replace(found, remarks=(remark,))
            else:
                yield found


def _document(document: Document, data: bytes, path: Path, opening: Opening) -> Iterator[Inspected]:
    value = document.value
    if isinstance(value, dict) and {"version", "name", "groups"} <= value.keys():
        yield from inspect_files.read_fleet_file(data, path=path, opening=opening)
    else:
        yield from inspect_files.read_document(document, name=printable(str(path)), opening=opening)


def _configuration(path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    yield from inspect_files.read_nats(
        path,
        working_directory=ways.working_directory,
        environment=ways.environment,
        opening=opening,
    )


def _guessed(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    """Try what a name does not tell: YAML, then nats.conf; both read most texts, few say ours."""
    try:
        yield from list(_document_or_text(data, path, opening))
    except SpecError:
        if str(path) == STANDARD_INPUT or not _may_be_configuration(data):
            raise _nothing(printable(str(path)), data) from None
        yield from _as_configuration(data, path, ways, opening)


def _may_be_configuration(data: bytes) -> bool:
    """Say whether it is worth telling what nats-server would refuse in it."""
    return b"tls" in data.lower() and b"{" in data and b"\0" not in data


def _as_configuration(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Inspected]:
    try:
        yield from list(_configuration(path, ways, opening))
    except ConfigError:
        raise
    except SpecError:
        raise _nothing(printable(str(path)), data) from None


def _nothing(place: str, data: bytes) -> SpecError:
    found = recognised(data)
    if found is not None:
        return SpecError(f"it is {found.what}", place=place, hint=found.hint)
    return SpecError(
        "no certificate and no key in it",
        place=place,
        hint="PEM, DER, PKCS#7, PKCS#12, YAML, JSON, nats.conf and fleet files are read; "
        "`SCHEME://HOST:PORT` is a live port",
    )
