"""Targets to findings: which reader a file, directory, stream or URL needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.codec.strict_yaml import Document
from rollover.errors import ConfigError, RolloverError, SpecError
from rollover.fleet.secret import SecretBytes
from rollover.inspecting import configurations, documents, live, pem
from rollover.inspecting.files import read_file, read_stream, walk
from rollover.inspecting.formats import Binary, Opening, binary, holds_pem, read_binary
from rollover.inspecting.found import Finding, Patience, Problem, Source, problem, writable
from rollover.inspecting.unread import recognised

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
    timeout_seconds: float = live.TIMEOUT_SECONDS


def read_targets(targets: Iterable[str], ways: Ways) -> Iterator[Finding]:
    """Yield what all targets hold, in their order; what cannot be read is a problem, no error."""
    opening = Opening(ways.password, Patience(READING_LIMIT))
    for target in targets:
        yield from _caught(_target(target, ways, opening))


def _caught(findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except RolloverError as error:
        yield problem(error)
    except RecursionError:
        yield problem(SpecError("nested too deeply to be read", hint="check what this file is"))


def _target(target: str, ways: Ways, opening: Opening) -> Iterator[Finding]:
    if target == STANDARD_INPUT:
        data = read_stream(sys.stdin.fileno(), patience=opening.patience)
        yield from _content(data, Path(STANDARD_INPUT), ways, opening)
    elif live.is_url(target):
        yield live.read_port(
            target, server_name=ways.server_name, timeout_seconds=ways.timeout_seconds
        )
    elif Path(target).is_dir():
        yield from _directory(Path(target), ways, opening)
    else:
        path = Path(target)
        yield from _content(read_file(path), path, ways, opening)


def _directory(directory: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    """Yield what its files hold; those which hold nothing of ours are passed over."""
    found = False
    for path in walk(directory):
        if isinstance(path, SpecError):
            yield problem(path)
            continue
        if opening.patience.over:
            yield problem(_too_slow(path))
            return
        for finding in _quietly(path, ways, opening):
            found = True
            yield finding
    if not found:
        yield problem(
            SpecError(
                "no certificate in any of its files",
                place=str(directory),
                hint="name the files that should hold one",
            )
        )


def _too_slow(path: Path) -> SpecError:
    return SpecError(
        f"this and what follows was not read within {READING_LIMIT.total_seconds():.0f} s",
        place=writable(str(path)),
        hint="inspect fewer files at once",
    )


def _quietly(path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    """Yield what a file among many holds; a problem only where its name or content promises."""
    findings = list(_caught(_file_content(path, ways, opening)))
    promising = path.suffix.lower() in _CERTIFICATES
    for finding in findings:
        if promising or not isinstance(finding, Problem) or finding.code == "pem":
            yield finding


def _file_content(path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    yield from _content(read_file(path), path, ways, opening)


def _content(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    name, suffix = writable(str(path)), path.suffix.lower()
    if not data.strip():
        raise SpecError("the file is empty", place=name, hint="write something into it")
    if suffix in _CONFIGURATIONS:
        yield from _configuration(path, ways, opening)
    elif suffix in _DOCUMENTS:
        yield from _document_or_text(data, path, opening)
    elif binary(data) is not Binary.NONE and not holds_pem(data):
        yield from read_binary(data, name=name, opening=opening)
    elif suffix in _CERTIFICATES or _starts_a_line_with_pem(data):
        yield from _pem(data, name, opening)
    else:
        yield from _guessed(data, path, ways, opening)


def _starts_a_line_with_pem(data: bytes) -> bool:
    return data.startswith(_PEM_AT_LINE_START) or b"\n-----BEGIN " in data


def _pem(data: bytes, name: str, opening: Opening) -> Iterator[Finding]:
    findings = list(pem.read_pem(data, name=name, patience=opening.patience))
    if not findings:
        raise _nothing(name, data)
    yield from findings


def _documents(data: bytes, path: Path, opening: Opening) -> Iterator[Finding]:
    if len(data) > MOST_DOCUMENT_BYTES:
        raise SpecError(
            f"more than {MOST_DOCUMENT_BYTES:,} bytes of YAML or JSON",
            place=writable(str(path)),
            hint="split the file",
        )
    found = False
    for document in documents.documents(data, place=writable(str(path))):
        for finding in _document(document, data, path, opening):
            found = True
            yield finding
    if not found:
        raise _nothing(writable(str(path)), data)


def _document_or_text(data: bytes, path: Path, opening: Opening) -> Iterator[Finding]:
    """Yield what YAML holds; where it is refused (merges, tags), at least its PEM blocks."""
    try:
        yield from list(_documents(data, path, opening))
    except SpecError as error:
        if not holds_pem(data):
            raise
        for found in _pem(data, writable(str(path)), opening):
            if isinstance(found, Source):
                remark = f"read as text, because as YAML it is refused: {writable(str(error))}"
                yield msgspec.structs.replace(found, remarks=(remark,))
            else:
                yield found


def _document(document: Document, data: bytes, path: Path, opening: Opening) -> Iterator[Finding]:
    value = document.value
    if isinstance(value, dict) and {"version", "name", "groups"} <= value.keys():
        yield from configurations.read_fleet_file(data, path=path, opening=opening)
    else:
        yield from documents.read_document(document, name=writable(str(path)), opening=opening)


def _configuration(path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    yield from configurations.read_nats(
        path,
        working_directory=ways.working_directory,
        environment=ways.environment,
        opening=opening,
    )


def _guessed(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    """Try what a name does not tell: YAML, then nats.conf; both read most texts, few say ours."""
    try:
        yield from list(_document_or_text(data, path, opening))
    except SpecError:
        if str(path) == STANDARD_INPUT or not _may_be_configuration(data):
            raise _nothing(writable(str(path)), data) from None
        yield from _as_configuration(data, path, ways, opening)


def _may_be_configuration(data: bytes) -> bool:
    """Say whether it is worth telling what nats-server would refuse in it."""
    return b"tls" in data.lower() and b"{" in data and b"\0" not in data


def _as_configuration(data: bytes, path: Path, ways: Ways, opening: Opening) -> Iterator[Finding]:
    try:
        yield from list(_configuration(path, ways, opening))
    except ConfigError:
        raise
    except SpecError:
        raise _nothing(writable(str(path)), data) from None


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
