"""What a file holds, by its format: PEM, DER, PKCS#7, PKCS#12, YAML, JSON, nats.conf, fleet."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from nats_config.config import read_config
from nats_config.server import read_server_config
from nats_config.tls import TlsBlock, TlsContext
from rollover.certificates import inspect_pem, inspect_pkcs12
from rollover.certificates.inspect_findings import (
    BOTH_STACKS,
    FoundCertificate,
    FoundKey,
    Inspected,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    SourceKind,
    printable,
    problem_of,
    read_file,
)
from rollover.certificates.inspect_pem import FoundPart
from rollover.codec.fleet_file import read_fleet
from rollover.codec.nats_configuration import config_errors
from rollover.codec.strict_yaml import Document, FieldPath, Tree, field_name, load
from rollover.errors import PemError, RolloverError, SpecError
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.fleet import Role
from rollover.fleet.secret import SecretBytes
from rollover.pki.der import INTEGER, OBJECT_IDENTIFIER, SEQUENCE, DamagedDerError, element
from rollover.pki.pem import BEGIN, PEM_LIMIT, loaded_by_go, split_blocks

# What a file is that holds neither certificate nor key, and what shows its content.


class Unread(NamedTuple):
    """Something that people mistake for a certificate, and the way on."""

    what: str
    hint: str


_REQUEST: Final = Unread(
    "a certificate request, which no CA has signed yet",
    "`openssl req -noout -text -in FILE` shows it; inspect the certificate that comes back for it",
)
_REVOCATIONS: Final = Unread(
    "a list of revoked certificates, which neither nats-server nor Rollover reads",
    "`openssl crl -noout -text -in FILE` shows it",
)
_PUBLIC_KEY: Final = Unread(
    "a public key alone", "inspect the certificate that it is in, or the private key"
)
_PARAMETERS: Final = Unread("parameters of keys, which nats-server does not need", "leave it out")
_JAVA: Final = Unread(
    "a Java key store",
    "`keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype pkcs12` "
    "makes one that is read",
)
_SSH: Final = Unread(
    "a key of SSH", "NATS needs certificates of X.509: `rollover issue` makes some"
)

_OF_LABEL: Final = MappingProxyType(
    {
        "CERTIFICATE REQUEST": _REQUEST,
        "NEW CERTIFICATE REQUEST": _REQUEST,
        "X509 CRL": _REVOCATIONS,
        "PUBLIC KEY": _PUBLIC_KEY,
        "RSA PUBLIC KEY": _PUBLIC_KEY,
        "DH PARAMETERS": _PARAMETERS,
        "EC PARAMETERS": _PARAMETERS,
    }
)
_OF_BEGINNING: Final = MappingProxyType(
    {
        b"\xfe\xed\xfe\xed": _JAVA,
        b"\xce\xce\xce\xce": _JAVA,
        b"ssh-": _SSH,
        b"ecdsa-sha2-": _SSH,
    }
)


def recognised(data: bytes) -> Unread | None:
    """Return what some bytes without certificate and key are; None when nobody knows."""
    for beginning, found in _OF_BEGINNING.items():
        if data.startswith(beginning):
            return found
    known = (_OF_LABEL.get(block.label) for block in split_blocks(data))
    return next((unread for unread in known if unread is not None), None)


# Which format some bytes are in, and what they hold: PEM, DER, PKCS#7, PKCS#12.

_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
"""The object identifier with which a PKCS#7 message begins (RFC 2315 §14)."""
_PKCS12_VERSION = b"\x02\x01\x03"
"""RFC 7292 §4: `version INTEGER {v3(3)}`, then a sequence."""


class Binary(Enum):
    """What the first elements of DER say that it is."""

    CERTIFICATE = "certificate"
    PKCS7 = "pkcs7"
    PKCS12 = "pkcs12"
    KEY = "key"
    NONE = "none"


class Opening(NamedTuple):
    """What is needed to read: the password of PKCS#12 files (may be empty), and the time left."""

    password: SecretBytes
    deadline: InspectionDeadline


def holds_pem(data: bytes) -> bool:
    """Say whether a PEM block begins somewhere."""
    return BEGIN in data


def binary_format(data: bytes) -> Binary:
    """Return what DER these bytes are; told by the first elements, not by reading all of it."""
    if data[:1] != bytes((SEQUENCE,)):
        return Binary.NONE
    try:
        outer = element(data, 0, limit=len(data))
        first = element(data, outer.body, limit=outer.end)
        if first.tag == SEQUENCE:
            return Binary.CERTIFICATE
        if data[first.start : first.end] == _SIGNED_DATA:
            return Binary.PKCS7
        second = element(data, first.end, limit=outer.end)
    except DamagedDerError:
        # Cut short, or nonsense: most likely it was meant to be a certificate.
        return Binary.CERTIFICATE
    # PKCS#12 and all forms of a private key begin with a version, the one of PKCS#12 is 3.
    if first.tag != INTEGER:
        return Binary.NONE if first.tag == OBJECT_IDENTIFIER else Binary.CERTIFICATE
    whole = data[first.start : first.end]
    is_archive = whole == _PKCS12_VERSION and second.tag == SEQUENCE
    return Binary.PKCS12 if is_archive else Binary.KEY


def read_binary(data: bytes, *, name: str, opening: Opening) -> Iterator[Inspected]:
    """Yield what DER holds as one source."""
    kinds = {Binary.PKCS7: SourceKind.PKCS7, Binary.PKCS12: SourceKind.PKCS12}
    form = binary_format(data)
    parts = list(binary_parts(data, place=name, opening=opening))
    yield from inspect_pem.gathered(parts, name=name, kind=kinds.get(form, SourceKind.DER))


def binary_parts(data: bytes, *, place: str, opening: Opening) -> Iterator[FoundPart]:
    """Yield the certificates and keys of DER; `PemError` when it is too large."""
    if len(data) > PEM_LIMIT:
        raise PemError(f"more than {PEM_LIMIT:,} bytes", place=place, hint="this is no certificate")
    match binary_format(data):
        case Binary.PKCS7:
            yield from inspect_pem.pkcs7_certificates(data, place=place)
        case Binary.PKCS12:
            yield from inspect_pkcs12.parts_of_pkcs12(
                data, place=place, password=opening.password, deadline=opening.deadline
            )
        case Binary.KEY:
            yield inspect_pem.key_of_der(data, place=place)
        case Binary.CERTIFICATE | Binary.NONE:
            yield inspect_pem.certificate_of_der(data, place=place)


def parts_of(data: bytes, *, place: str, opening: Opening, by_line: bool = True) -> list[FoundPart]:
    """Return the certificates and keys of PEM or DER, whichever it is."""
    if holds_pem(data):
        return list(
            inspect_pem.parts_of_blocks(
                data, place=place, deadline=opening.deadline, by_line=by_line
            )
        )
    return list(binary_parts(data, place=place, opening=opening))


# Certificates in YAML and JSON: Kubernetes objects, vars stores, manifests, anything with PEM.

MOST_DOCUMENTS = 500
_SEPARATOR = re.compile(rb"^---(?:[ \t].*)?\r?$", re.MULTILINE)
_BEGIN = "-----BEGIN "
_BEGIN_IN_BASE64 = "LS0tLS1CRUdJTi"
"""`-----BEGIN` in base64, as Secrets, webhooks and environment variables carry it."""
_BINARY_NAMES = (".p12", ".pfx", ".der", ".cer", ".crt", ".p7b", ".p7c")
_OBJECTS = ("Secret", "ConfigMap")


class Object(NamedTuple):
    """One value of a document that stands for itself: an object of Kubernetes, or the whole."""

    name: str
    kind: SourceKind
    value: Tree
    path: FieldPath


def documents(data: bytes, *, place: str) -> Iterator[Document]:
    """Yield the documents of a YAML or JSON text; `SpecError`, with the place, for what is none."""
    for count, piece in enumerate(_pieces(data)):
        if count >= MOST_DOCUMENTS:
            raise SpecError(
                f"more than {MOST_DOCUMENTS} documents", place=place, hint="split the file"
            )
        yield load(piece, place=place)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield each document with empty lines before it, so that its lines keep their numbers."""
    start = 0
    for mark in (*(found.start() for found in _SEPARATOR.finditer(data)), len(data)):
        piece = data[start:mark]
        if _says_something(piece):
            yield b"\n" * data.count(b"\n", 0, start) + piece
        start = mark


def _says_something(piece: bytes) -> bool:
    lines = (line.strip() for line in _SEPARATOR.sub(b"", piece).splitlines())
    return any(line and not line.startswith((b"#", b"%")) for line in lines)


def read_document(document: Document, *, name: str, opening: Opening) -> Iterator[Inspected]:
    """Yield a source for every object of a document that holds certificates or keys."""
    for found in _objects(document.value, name):
        parts = list(_object_parts(document, found, opening))
        yield from inspect_pem.gathered(parts, name=found.name, kind=found.kind)


def _objects(value: Tree, name: str, path: FieldPath = ()) -> Iterator[Object]:
    items = value.get("items") if isinstance(value, dict) else None
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(items, list):
        for number, item in enumerate(items):
            yield Object(*_name_of_object(item, name), item, (*path, "items", number))
    else:
        yield Object(*_name_of_object(value, name), value, path)


def _name_of_object(value: Tree, name: str) -> tuple[str, SourceKind]:
    if not isinstance(value, dict) or not isinstance(value.get("apiVersion"), str):
        return name, SourceKind.YAML
    about = value.get("metadata")
    named = about if isinstance(about, dict) else {}
    where = "/".join(str(named[key]) for key in ("namespace", "name") if key in named)
    return f"{name}: {value.get('kind')} {where}".rstrip(), SourceKind.KUBERNETES


def _object_parts(document: Document, found: Object, opening: Opening) -> Iterator[FoundPart]:
    is_object = isinstance(found.value, dict) and found.value.get("kind") in _OBJECTS
    for path, text in _texts(found.value):
        content = _content(text, path, binary=is_object)
        if content:
            whole = (*found.path, *path)
            place = f"{document.place(whole)}: {field_name(whole)}"
            yield from parts_of(content, place=place, opening=opening, by_line=False)


def _texts(value: Tree) -> Iterator[tuple[FieldPath, str]]:
    """Yield every text of a value in its order, with its path; no recursion to run deep."""
    waiting: list[tuple[FieldPath, Tree]] = [((), value)]
    while waiting:
        path, current = waiting.pop()
        match current:
            case str():
                yield path, current
            case dict():
                waiting += [((*path, key), below) for key, below in reversed(current.items())]
            case list():
                numbered = list(enumerate(current))
                waiting += [((*path, number), below) for number, below in reversed(numbered)]


def _content(text: str, path: FieldPath, *, binary: bool) -> bytes:
    """Return the PEM or DER that a text stands for, empty when it stands for none."""
    if _BEGIN in text:
        # JSON in an environment variable, and the like: the line ends are written out.
        plain = text if "\n" in text else text.replace("\\n", "\n")
        return plain.encode("utf-8", "replace")
    # In Secrets all is base64 (`data`), in ConfigMaps only what is no text (`binaryData`).
    in_data = binary and len(path) > 1 and path[0] in ("data", "binaryData")
    if text.startswith(_BEGIN_IN_BASE64) or (in_data and str(path[-1]).endswith(_BINARY_NAMES)):
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return _damaged(text)
    return b""


def _damaged(text: str) -> bytes:
    """Return what can be read of base64 that is cut or altered: the damage then shows in it."""
    sound = re.match(r"[A-Za-z0-9+/]*", text)
    usable = sound[0] if sound else ""
    return base64.b64decode(usable[: len(usable) // 4 * 4])


# Certificates that a configuration names: the `tls` blocks of nats-server, and fleet files.

MOST_BLOCKS = 1_000

_AMONG_SERVERS = frozenset(
    {
        TlsContext.CLUSTER,
        TlsContext.GATEWAY,
        TlsContext.GATEWAY_REMOTE,
        TlsContext.LEAFNODES,
        TlsContext.LEAF_REMOTE,
    }
)
"""Both ends are nats-server: only the verdict of Go counts."""


class _Party(NamedTuple):
    """One TLS party as a configuration describes it."""

    name: str
    kind: SourceKind
    place: str
    chain: str
    key: str
    bundle: str
    usages: tuple[Usage, ...]
    stacks: tuple[Stack, ...]


def read_nats(
    path: Path, *, working_directory: Path, environment: Mapping[str, str], opening: Opening
) -> Iterator[Inspected]:
    """Yield a source for every `tls` block; `ConfigError`, with the place, for what is wrong."""
    with config_errors():
        config = read_server_config(
            read_config(path, environment=environment), cwd=working_directory
        )
    if not config.tls:
        raise SpecError(
            "no `tls` block in it", place=str(path), hint="name a configuration that has one"
        )
    for block in config.tls[:MOST_BLOCKS]:
        for party in _block_parties(block):
            yield from _read(party, opening)
    if len(config.tls) > MOST_BLOCKS:
        yield problem_of(
            SpecError(f"more than {MOST_BLOCKS} `tls` blocks", place=str(path), hint="split it")
        )


def _block_parties(block: TlsBlock) -> Iterator[_Party]:
    usages = [Usage.SERVER] if block.context.accepts else []
    usages += [Usage.CLIENT] if block.context.dials else []
    bundle = block.ca_file.path if block.ca_file else ""
    pairs = [
        (certificate.cert_file.path, certificate.key_file.path)
        for certificate in block.certificates
    ]
    for chain, key in pairs or [("", "")]:
        yield _Party(
            name=printable(f"{block.place.file}: {block.name}"),
            kind=SourceKind.NATS,
            place=printable(str(block.place)),
            chain=chain,
            key=key,
            bundle=bundle,
            usages=tuple(usages),
            stacks=(Stack.GO,) if block.context in _AMONG_SERVERS else BOTH_STACKS,
        )


def read_fleet_file(data: bytes, *, path: Path, opening: Opening) -> Iterator[Inspected]:
    """Yield a source for every endpoint of a fleet file that names files."""
    described = read_fleet(data, place=str(path))
    for group in described.groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                if endpoint.certificate or endpoint.ca:
                    yield from _read(_endpoint_party(path, instance, endpoint), opening)


def _endpoint_party(
    path: Path, instance: InstanceDescription, endpoint: EndpointDescription
) -> _Party:
    home = path.parent / (instance.working_directory or "")
    chain, key, bundle = (
        str(home / file) if file else ""
        for file in (endpoint.certificate, endpoint.key, endpoint.ca)
    )
    return _Party(
        name=printable(f"{path}: {instance.name}/{endpoint.name}"),
        kind=SourceKind.FLEET,
        place=printable(f"{path}: {instance.name}/{endpoint.name}"),
        chain=chain,
        key=key,
        bundle=bundle,
        usages=_USAGES.get(endpoint.role, ()),
        stacks=BOTH_STACKS,
    )


_BOTH = (Usage.SERVER, Usage.CLIENT)
_USAGES: Mapping[Role, tuple[Usage, ...]] = MappingProxyType(
    {
        **dict.fromkeys((Role.ROUTE, Role.GATEWAY), _BOTH),
        **dict.fromkeys((Role.GATEWAY_REMOTE, Role.LEAF_REMOTE, Role.CLIENT), (Usage.CLIENT,)),
        **dict.fromkeys((Role.CLIENT_PORT, Role.LEAFNODE, Role.WEBSOCKET), (Usage.SERVER,)),
        **dict.fromkeys((Role.MQTT, Role.MONITORING, Role.TLS), (Usage.SERVER,)),
    }
)


def _read(party: _Party, opening: Opening) -> Iterator[Inspected]:
    if opening.deadline.over:
        yield problem_of(
            SpecError("not read: the time is up", place=party.place, hint="inspect it by itself")
        )
        return
    contents: dict[str, bytes] = {}
    parts: list[FoundPart] = []
    for file in dict.fromkeys(filter(None, (party.chain, party.key, party.bundle))):
        try:
            contents[file] = read_file(Path(file), place=party.place)
            parts += parts_of(contents[file], place=printable(file), opening=opening)
        except RolloverError as error:
            parts.append(problem_of(error))
    certificates = tuple(part for part in parts if isinstance(part, FoundCertificate))
    if certificates or not any(isinstance(part, InspectionProblem) for part in parts):
        yield InspectedSource(
            name=party.name,
            kind=party.kind,
            certificates=certificates,
            keys=tuple(part for part in parts if isinstance(part, FoundKey)),
            chain=_loaded(contents.get(party.chain)),
            trusts=_loaded(contents.get(party.bundle)),
            usages=party.usages,
            stacks=party.stacks,
        )
    yield from (part for part in parts if isinstance(part, InspectionProblem))


def _loaded(data: bytes | None) -> tuple[Certificate, ...]:
    """Return what the party loads of a file: nats-server skips what it cannot read."""
    return loaded_by_go(data) if data else ()
