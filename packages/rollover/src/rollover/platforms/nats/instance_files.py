"""The files of an instance: where they are, what they hold, and what an order puts there.

What they hold is the state that the instance has loaded, or would load next.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from rollover.delivery.local import is_in_a_volume
from rollover.engine.ports import DeliveredFile, Delivery
from rollover.errors import AdapterError, PemError, SpecError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.description import (
    EndpointDescription,
    FileDelivery,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import EndpointMaterial, ObservedEndpoint, Order
from rollover.fleet.fleet import EndpointRef, Role
from rollover.fleet.names import SYSTEM_ROOTS, EndpointName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import loaded_by_go, read_certificates, write_certificates
from rollover.probe.target import Port, Target, parse_address

# Where files lie, and how each port is dialled.

PORTS: Mapping[Role, Port] = MappingProxyType(
    {
        Role.CLIENT_PORT: Port.CLIENT,
        Role.ROUTE: Port.ROUTE,
        Role.GATEWAY: Port.GATEWAY,
        Role.LEAFNODE: Port.LEAFNODE,
        Role.WEBSOCKET: Port.WEBSOCKET,
        Role.MQTT: Port.MQTT,
        Role.MONITORING: Port.MONITORING,
        Role.TLS: Port.PLAIN,
    }
)
"""How the endpoints that accept connections are dialled; all others only dial."""

_ALWAYS_DEMANDING = frozenset((Role.ROUTE, Role.GATEWAY))
"""nats-server forces `verify` on there."""


def resolved(instance: InstanceDescription, *, base: Path) -> InstanceDescription:
    """Return the description with absolute paths: relative ones begin at the working directory.

    A relative working directory begins at `base`, the directory of the fleet file; so may the path
    of a configuration, as that of one that is discovered does.
    """
    home = base / (instance.working_directory or "")
    endpoints = tuple(
        msgspec.structs.replace(
            endpoint,
            certificate=_absolute(endpoint.certificate, home),
            key=_absolute(endpoint.key, home),
            ca=_absolute(endpoint.ca, home),
        )
        for endpoint in instance.endpoints
    )
    return msgspec.structs.replace(
        instance,
        endpoints=endpoints,
        config=_absolute(
            instance.config,
            home if instance.config is None or (home / instance.config).exists() else base,
        ),
        working_directory=_absolute("", home),
        pid_file=_absolute(instance.pid_file, home),
        status_file=_absolute(instance.status_file, home),
    )


def _absolute(path: str | None, home: Path) -> str | None:
    # Not `Path.resolve`: links are the delivery's business.
    return None if path is None else os.path.abspath(home / path)  # noqa: PTH100 - see above


def public_paths(instance: InstanceDescription) -> tuple[str, ...]:
    """Return the certificate and bundle files of an instance, each once; never its keys."""
    found = (
        path for endpoint in instance.endpoints for path in (endpoint.certificate, endpoint.ca)
    )
    return tuple(dict.fromkeys(path for path in found if path is not None))


def shared(groups: Iterable[GroupDescription], *, base: Path) -> Mapping[InstanceName, str]:
    """Return why instances of this machine cannot be changed apart: they read one file.

    Also where the paths differ and links lead to the same file. A delivery to one of them would
    change what the other takes at its next reload, which no proof ranges over.
    """
    users: dict[str, dict[InstanceName, str]] = {}
    for group in groups:
        for instance in group.instances if isinstance(group.delivery, FileDelivery) else ():
            for path in _described_files(resolved(instance, base=base)):
                users.setdefault(os.path.realpath(path), {})[instance.name] = path
    found: dict[InstanceName, str] = {}
    for readers in users.values():
        for name, path in readers.items() if len(readers) > 1 else ():
            other = next(reader for reader in readers if reader != name)
            found.setdefault(name, f"`{path}` is also a file of `{other}`: give each its own copy")
    return found


def _described_files(instance: InstanceDescription) -> Iterator[str]:
    for endpoint in instance.endpoints:
        yield from (
            path for path in (endpoint.certificate, endpoint.key, endpoint.ca) if path is not None
        )


def dialled(instance: InstanceDescription) -> Iterator[tuple[EndpointDescription, Target]]:
    """Yield the endpoints that accept connections, and how to dial each.

    Raises `SpecError` for an address that is none.
    """
    for endpoint in instance.endpoints:
        if endpoint.address is not None and endpoint.role in PORTS:
            try:
                yield endpoint, target(endpoint, endpoint.address)
            except SpecError as error:
                raise SpecError(
                    error.message,
                    field=f"{instance.name}/{endpoint.name}: address",
                    hint=error.hint,
                ) from None


def target(endpoint: EndpointDescription, address: str) -> Target:
    """Return how to dial an endpoint at an address."""
    return Target(
        address=address,
        port=PORTS[endpoint.role],
        server_name=parse_address(address).host,
        handshake_first=endpoint.handshake_first,
    )


def demands(endpoint: EndpointDescription) -> bool:
    """Say whether an endpoint demands a certificate of whoever dials it."""
    return endpoint.verify or endpoint.role in _ALWAYS_DEMANDING


def client_port(instance: InstanceDescription) -> EndpointDescription | None:
    """Return the client port of an instance, None when none is described with its address."""
    for endpoint in instance.endpoints:
        if endpoint.role is Role.CLIENT_PORT and endpoint.address is not None:
            return endpoint
    return None


# What the files of an instance hold.

KEPT_SUFFIX = ".rollover-kept"
"""Local delivery keeps what it replaces under this name until the change is confirmed."""

SYSTEM_STORE = Certificate(
    fingerprint=SYSTEM_ROOTS,
    subject="the trust store of the operating system",
    issuer_name="",
    serial=0,
    not_before=datetime.min.replace(tzinfo=UTC),
    not_after=datetime.max.replace(tzinfo=UTC),
    is_ca=True,
)
"""Stands in the bundle of a party that verifies its peers and names no `ca` file."""


class FileContents(NamedTuple):
    """Public files by path, and why others could not be read."""

    files: Mapping[str, bytes]
    troubles: Mapping[str, str]


class HeldFiles(NamedTuple):
    """What each endpoint's files hold. Endpoints in `troubles` have files that say nothing."""

    endpoints: tuple[ObservedEndpoint, ...]
    troubles: Mapping[EndpointName, str]

    @property
    def by_name(self) -> dict[EndpointName, ObservedEndpoint]:
        """The endpoints whose files can be used, by name."""
        return {endpoint.endpoint: endpoint for endpoint in self.endpoints}

    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate found, each once."""
        found = (
            certificate
            for endpoint in self.endpoints
            for certificate in (*endpoint.presents, *(endpoint.trusts or ()))
            if certificate is not SYSTEM_STORE
        )
        return tuple(dict.fromkeys(found))


def read(delivery: Delivery, instance: InstanceDescription) -> FileContents:
    """Read the certificates and bundles of an instance; what cannot be read is told, not raised."""
    paths = public_paths(instance)
    try:
        return FileContents(delivery.read(instance.name, paths) if paths else {}, {})
    except AdapterError:
        # One file that is missing fails the whole request: the others are still worth knowing.
        return _one_by_one(delivery, instance, paths)


def read_kept(delivery: Delivery, instance: InstanceDescription) -> Mapping[str, bytes]:
    """Read the copies that an unconfirmed local delivery keeps, by the paths that they are of."""
    paths = tuple(f"{path}{KEPT_SUFFIX}" for path in public_paths(instance))
    found = _one_by_one(delivery, instance, paths).files
    return {path.removesuffix(KEPT_SUFFIX): content for path, content in found.items()}


def _one_by_one(
    delivery: Delivery, instance: InstanceDescription, paths: Iterable[str]
) -> FileContents:
    files: dict[str, bytes] = {}
    troubles: dict[str, str] = {}
    for path in paths:
        try:
            files |= delivery.read(instance.name, (path,))
        except AdapterError as error:
            troubles[path] = error.message
    return FileContents(files, troubles)


def private_keys(
    delivery: Delivery, instances: Iterable[InstanceDescription]
) -> Mapping[EndpointRef, SecretBytes]:
    """Return the private keys of the endpoints, as far as they can be read."""
    found: dict[EndpointRef, SecretBytes] = {}
    for instance in instances:
        for endpoint in instance.endpoints:
            if endpoint.key is not None:
                with suppress(AdapterError):
                    content = delivery.read(instance.name, (endpoint.key,))[endpoint.key]
                    found[EndpointRef(instance.name, endpoint.name)] = SecretBytes(content)
    return found


def held(instance: InstanceDescription, contents: FileContents) -> HeldFiles:
    """Return the state that these contents amount to."""
    seen: list[ObservedEndpoint] = []
    troubles: dict[EndpointName, str] = {}
    for endpoint in instance.endpoints:
        try:
            seen.append(_endpoint(endpoint, contents))
        except PemError as error:
            troubles[endpoint.name] = error.message
    return HeldFiles(tuple(seen), troubles)


def _endpoint(endpoint: EndpointDescription, contents: FileContents) -> ObservedEndpoint:
    return ObservedEndpoint(
        endpoint=endpoint.name,
        presents=_certificates(endpoint.certificate, contents, stack=endpoint.stack),
        trusts=_trusts(endpoint, contents),
    )


def _trusts(
    endpoint: EndpointDescription, contents: FileContents
) -> tuple[Certificate, ...] | None:
    if endpoint.ca is not None:
        return _certificates(endpoint.ca, contents, stack=endpoint.stack)
    # Whoever only dials verifies the server, and nats-server its routes and gateways.
    verifies = demands(endpoint) or endpoint.role not in PORTS
    return (SYSTEM_STORE,) if verifies else None


def _certificates(
    path: str | None, contents: FileContents, *, stack: Stack
) -> tuple[Certificate, ...]:
    """Return what a party of this stack loads from a file."""
    if path is None:
        return ()
    if path not in contents.files:
        raise PemError(contents.troubles.get(path, "the file was not read"), place=path)
    data = contents.files[path]
    # Go skips blocks that it cannot read, OpenSSL refuses the whole file for one.
    loaded = loaded_by_go(data) if stack is Stack.GO else ()
    return loaded or read_certificates(data, place=path).certificates


def unwritable(instance: InstanceDescription) -> str:
    """Say why new files could not be put in place on this machine, empty when nothing is in sight.

    A look only: what else may go wrong shows when files are delivered.
    """
    reasons = (_unwritable(Path(path)) for path in _described_files(instance))
    return next(filter(None, reasons), "")


def _unwritable(path: Path) -> str:
    real = Path(os.path.realpath(path))
    if is_in_a_volume(real):
        return (
            f"`{path}` lies in a volume that Kubernetes writes: describe its Secret or ConfigMap "
            "with `delivery: {by: kubernetes, …}`"
        )
    if real.exists() and not real.is_file():
        return f"`{path}` is not a plain file"
    if not real.parent.is_dir():
        return f"the directory `{real.parent}` does not exist"
    if not os.access(real.parent, os.W_OK | os.X_OK):
        return f"nothing can be written into `{real.parent}`"
    # A file that its mode protects is replaced all the same; one that root cannot write is fixed.
    if os.geteuid() == 0 and real.exists() and not os.access(real, os.W_OK):
        return f"`{path}` cannot be changed: it is immutable, or its disk read-only"
    return ""


# From an order to the files that it puts on an instance.


def files_of(order: Order, instance: InstanceDescription) -> tuple[DeliveredFile, ...]:
    """Return the files of an order, each path once; endpoints that share a path share its content.

    `SpecError` when an endpoint has no such file, when two endpoints want different content at
    one path, or when a key is not that of the leaf that comes with it.
    """
    endpoints = {endpoint.name: endpoint for endpoint in instance.endpoints}
    files: dict[str, DeliveredFile] = {}
    for material in order.endpoints:
        if material.endpoint not in endpoints:
            raise _misfit(instance, material, "is not described")
        _check_pair(instance, material)
        for file in _endpoint_files(instance, endpoints[material.endpoint], material):
            if files.setdefault(file.path, file).content != file.content:
                raise _misfit(instance, material, f"wants other content in `{file.path}`")
    return tuple(files.values())


def _endpoint_files(
    instance: InstanceDescription, endpoint: EndpointDescription, material: EndpointMaterial
) -> Iterator[DeliveredFile]:
    wanted: tuple[tuple[str, str | None, bytes | SecretBytes | None], ...] = (
        ("certificate", endpoint.certificate, _pem(material.chain)),
        ("key", endpoint.key, material.key),
        ("ca", endpoint.ca, _pem(material.bundle)),
    )
    for field, path, content in wanted:
        if content is None:
            continue
        if path is None:
            raise _misfit(instance, material, f"has no `{field}` file")
        yield DeliveredFile(path=path, content=content)


def _pem(certificates: Sequence[Certificate] | None) -> bytes | None:
    return None if certificates is None else write_certificates(certificates)


def _check_pair(instance: InstanceDescription, material: EndpointMaterial) -> None:
    if material.chain is None or material.key is None:
        return
    place = f"{instance.name}/{material.endpoint}"
    key = from_pem(material.key.reveal(), place=place)
    if not material.chain or material.chain[0].key_identity != key.key_identity:
        raise _misfit(instance, material, "gets a key that is not its leaf's")


def _misfit(instance: InstanceDescription, material: EndpointMaterial, problem: str) -> SpecError:
    return SpecError(
        f"endpoint `{material.endpoint}` {problem}",
        place=instance.name,
        hint="correct the endpoint in the fleet file, or make its material anew",
    )


def after_delivery(before: FileContents, files: tuple[DeliveredFile, ...]) -> FileContents:
    """Return the public files as they are once these have been delivered."""
    delivered = {file.path: file.plain() for file in files if not file.secret}
    contents: Mapping[str, bytes] = {**before.files, **delivered}
    left = {path: why for path, why in before.troubles.items() if path not in delivered}
    return FileContents(contents, left)
