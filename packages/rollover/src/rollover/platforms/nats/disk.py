"""What the files of an instance hold: the state that it has loaded, or would load next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rollover.delivery.placing import is_in_a_volume
from rollover.engine.delivery_port import Delivery
from rollover.errors import AdapterError, PemError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Seen
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import SYSTEM_ROOTS, EndpointName
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import loaded_by_go, read_certificates
from rollover.platforms.nats.places import PORTS, demands, public_paths

KEPT_SUFFIX = ".rollover-kept"
"""Local delivery keeps what it replaces under this name until the change is confirmed."""

SYSTEM_STORE = Certificate(
    fingerprint=SYSTEM_ROOTS,
    subject="the trust store of the operating system",
    issuer="",
    serial=0,
    not_before=datetime.min.replace(tzinfo=UTC),
    not_after=datetime.max.replace(tzinfo=UTC),
    is_ca=True,
)
"""Stands in the bundle of a party that verifies its peers and names no `ca` file."""


class Contents(NamedTuple):
    """Public files by path, and why others could not be read."""

    files: Mapping[str, bytes]
    troubles: Mapping[str, str]


class Disk(NamedTuple):
    """What each endpoint's files hold. Endpoints in `troubles` have files that say nothing."""

    seen: tuple[Seen, ...]
    troubles: Mapping[EndpointName, str]

    @property
    def by_name(self) -> dict[EndpointName, Seen]:
        """The endpoints whose files can be used, by name."""
        return {each.endpoint: each for each in self.seen}

    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate found, each once."""
        found = (one for each in self.seen for one in (*each.presents, *(each.trusts or ())))
        return tuple(dict.fromkeys(one for one in found if one is not SYSTEM_STORE))


def read(delivery: Delivery, instance: InstanceDescription) -> Contents:
    """Read the certificates and bundles of an instance; what cannot be read is told, not raised."""
    paths = public_paths(instance)
    try:
        return Contents(delivery.read(instance.name, paths) if paths else {}, {})
    except AdapterError:
        return _one_by_one(delivery, instance, paths)


def read_kept(delivery: Delivery, instance: InstanceDescription) -> Mapping[str, bytes]:
    """Read the copies that an unconfirmed local delivery keeps, by the paths that they are of."""
    paths = tuple(f"{path}{KEPT_SUFFIX}" for path in public_paths(instance))
    found = _one_by_one(delivery, instance, paths).files
    return {path.removesuffix(KEPT_SUFFIX): content for path, content in found.items()}


def _one_by_one(
    delivery: Delivery, instance: InstanceDescription, paths: Iterable[str]
) -> Contents:
    files: dict[str, bytes] = {}
    troubles: dict[str, str] = {}
    for path in paths:
        try:
            files |= delivery.read(instance.name, (path,))
        except AdapterError as error:
            troubles[path] = error.message
    return Contents(files, troubles)


def private_keys(
    delivery: Delivery, instances: Iterable[InstanceDescription]
) -> Mapping[EndpointRef, SecretBytes]:
    """Return the private keys of the endpoints, as far as they can be read."""
    found: dict[EndpointRef, SecretBytes] = {}
    for instance in instances:
        for each in instance.endpoints:
            if each.key is not None:
                with suppress(AdapterError):
                    content = delivery.read(instance.name, (each.key,))[each.key]
                    found[EndpointRef(instance.name, each.name)] = SecretBytes(content)
    return found


def held(instance: InstanceDescription, contents: Contents) -> Disk:
    """Return the state that these contents amount to."""
    seen: list[Seen] = []
    troubles: dict[EndpointName, str] = {}
    for endpoint in instance.endpoints:
        try:
            seen.append(_endpoint(endpoint, contents))
        except PemError as error:
            troubles[endpoint.name] = error.message
    return Disk(tuple(seen), troubles)


def _endpoint(endpoint: EndpointDescription, contents: Contents) -> Seen:
    return Seen(
        endpoint=endpoint.name,
        presents=_certificates(endpoint.certificate, contents, stack=endpoint.stack),
        trusts=_trusts(endpoint, contents),
    )


def _trusts(endpoint: EndpointDescription, contents: Contents) -> tuple[Certificate, ...] | None:
    if endpoint.ca is not None:
        return _certificates(endpoint.ca, contents, stack=endpoint.stack)
    verifies = demands(endpoint) or endpoint.role not in PORTS
    return (SYSTEM_STORE,) if verifies else None


def _certificates(path: str | None, contents: Contents, *, stack: Stack) -> tuple[Certificate, ...]:
    """Return what a party of this stack loads from a file."""
    if path is None:
        return ()
    if path not in contents.files:
        raise PemError(contents.troubles.get(path, "the file was not read"), place=path)
    data = contents.files[path]
    loaded = loaded_by_go(data) if stack is Stack.GO else ()
    return loaded or read_certificates(data, place=path).certificates


def unwritable(instance: InstanceDescription) -> str:
    """Say why new files could not be put in place on this machine, empty when nothing is in sight.

    A look only: what else may go wrong shows when files are delivered.
    """
    for endpoint in instance.endpoints:
        for path in (endpoint.certificate, endpoint.key, endpoint.ca):
            reason = _unwritable(Path(path)) if path is not None else ""
            if reason:
                return reason
    return ""


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
