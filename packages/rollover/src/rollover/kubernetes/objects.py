"""A Secret or ConfigMap as Rollover sees it, and what Kubernetes would refuse of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes

MOST_BYTES = 1024 * 1024
"""Of all values together: `MaxSecretSize`, which the API server holds ConfigMaps to as well."""
LONGEST_NAME = 253
LONGEST_NAMESPACE = 63

TLS_TYPE = "kubernetes.io/tls"
"""A Secret of this type must have `tls.crt` and `tls.key`."""
CERTIFICATE, KEY, AUTHORITY, BUNDLE = "tls.crt", "tls.key", "ca.crt", "cabundle.pem"
MANAGER = "rollover"
LABELS: Mapping[str, str] = {"app.kubernetes.io/managed-by": MANAGER}

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAMESPACE = re.compile(_LABEL)
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class ObjectKind(StrEnum):
    """The kinds of object that hold files."""

    SECRET = "Secret"  # noqa: S105 - the name of a kind
    CONFIG_MAP = "ConfigMap"


class ObjectRef(NamedTuple):
    """Names one object of a cluster."""

    kind: ObjectKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One object. Its values may be private keys, so they do not show themselves."""

    ref: ObjectRef
    data: Mapping[str, SecretBytes]
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    type: str = ""
    """Of a Secret; empty: `Opaque`."""
    immutable: bool = False
    version: str = ""
    """`resourceVersion`: a write goes through only when it is still that."""
    owners: tuple[str, ...] = ()
    """Who made it and will make it again: `kind/name` of its owner references."""
    metadata: object = None
    """What the API client read, so that what is not ours is written back as it was."""

    def __repr__(self) -> str:
        # Annotations hold whole Secrets: `kubectl.kubernetes.io/last-applied-configuration`.
        return f"Stored({self.ref}, {', '.join(sorted(self.data))})"


def check(stored: Stored) -> None:
    """Refuse what the API server would refuse: `SpecError` says what and why."""
    check_name(stored.ref.name)
    check_namespace(stored.ref.namespace)
    for key in stored.data:
        check_key(key)
    size = sum(len(value.reveal()) for value in stored.data.values())
    if size > MOST_BYTES:
        raise SpecError(
            f"{stored.ref} would hold {size:,} bytes, Kubernetes takes {MOST_BYTES:,}",
            hint="trust fewer CAs, or deliver the bundle as a file of the image",
        )


def check_name(name: str) -> None:
    """Refuse a name that is no DNS subdomain (RFC 1123), as Kubernetes does."""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise SpecError(
            f"`{name[:80]}` cannot be the name of an object",
            hint="lower-case letters, digits, `-` and `.`, such as `nats-ca`",
        )


def check_namespace(namespace: str) -> None:
    """Refuse a namespace that is no DNS label."""
    if len(namespace) > LONGEST_NAMESPACE or not _NAMESPACE.fullmatch(namespace):
        raise SpecError(
            f"`{namespace[:80]}` cannot be a namespace",
            hint="lower-case letters, digits and `-`, at most 63",
        )


def check_key(key: str) -> None:
    """Refuse the name of a value that could be no file of a volume."""
    if not _DATA_KEY.fullmatch(key) or key in (".", "..") or key.startswith(".."):
        raise SpecError(
            f"`{key[:80]}` cannot be a key of an object",
            hint="letters, digits, `-`, `_` and `.`, such as `cabundle.pem`",
        )
