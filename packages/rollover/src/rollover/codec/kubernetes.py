"""Secrets and ConfigMaps: from YAML or JSON to objects, and from objects to YAML. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from rollover.codec.strict_yaml import Document, FieldPath, Tree, dump, field_name, load
from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes

# An object as Rollover sees it, and what Kubernetes would refuse of one.

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


class ClusterObject(msgspec.Struct, frozen=True, kw_only=True):
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
        return f"ClusterObject({self.ref}, {', '.join(sorted(self.data))})"


def check_object(stored: ClusterObject) -> None:
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


# Manifests.

MOST_DOCUMENT_BYTES = 4 * 1024 * 1024
MOST_DOCUMENTS = 500
MOST_NESTED_LISTS = 3
DEFAULT_NAMESPACE = "default"
_SEPARATOR = re.compile(rb"^---(?:[ \t].*)?\r?$", re.MULTILINE)
_LOOKS_LIKE_OBJECT = re.compile(rb"""(?:^|[{,\n])[ \t]*["']?apiVersion["']?[ \t]*:""", re.MULTILINE)
_LISTS = ("List", "SecretList", "ConfigMapList")


def looks_like_manifest(data: bytes) -> bool:
    """Say whether a text may hold objects of Kubernetes; a look, not a proof."""
    return _LOOKS_LIKE_OBJECT.search(data) is not None


def write_manifests(objects: Sequence[ClusterObject]) -> bytes:
    """Return the objects as YAML, one document each; the same objects give the same bytes.

    `SpecError` for names, keys and sizes that the API server would refuse.
    """
    for cluster_object in objects:
        check_object(cluster_object)
    return b"---\n".join(dump(_manifest(cluster_object)) for cluster_object in objects)


def read_manifests(data: bytes, *, place: str) -> tuple[ClusterObject, ...]:
    """Return the Secrets and ConfigMaps of a text, in its order; other objects are passed over.

    Several documents, and lists, are followed. `SpecError` with file, line and field for what
    cannot be read.
    """
    if len(data) > MOST_DOCUMENT_BYTES:
        raise SpecError(
            f"more than {MOST_DOCUMENT_BYTES:,} bytes of YAML", place=place, hint="split the file"
        )
    return tuple(
        found
        for document in _documents(data, place)
        for found in _objects(document, document.value, (), depth=0)
    )


def _manifest(stored: ClusterObject) -> Mapping[str, Any]:
    metadata: dict[str, Any] = {"name": stored.ref.name, "namespace": stored.ref.namespace}
    if stored.labels:
        metadata["labels"] = dict(sorted(stored.labels.items()))
    if stored.annotations:
        metadata["annotations"] = dict(sorted(stored.annotations.items()))
    whole: dict[str, Any] = {"apiVersion": "v1", "kind": stored.ref.kind.value}
    whole["metadata"] = metadata
    if stored.ref.kind is ObjectKind.SECRET:
        whole["type"] = stored.type or "Opaque"
    if stored.immutable:
        whole["immutable"] = True
    return {**whole, **encoded_values(stored)}


def encoded_values(stored: ClusterObject) -> Mapping[str, Mapping[str, str]]:
    """Return `data` and `binaryData` as the API writes them."""
    plain = {key: value.reveal() for key, value in stored.data.items()}
    if stored.ref.kind is ObjectKind.SECRET:
        return {"data": {key: _encoded(content) for key, content in plain.items()}}
    texts = {key: text for key, content in plain.items() if (text := _text(content)) is not None}
    binary = {key: _encoded(content) for key, content in plain.items() if key not in texts}
    found: dict[str, Mapping[str, str]] = {"data": texts}
    if binary:
        found["binaryData"] = binary
    return found


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _documents(data: bytes, place: str) -> Iterator[Document]:
    """Yield each document, with empty lines before it, so that its lines keep their numbers."""
    start, count = 0, 0
    for mark in (*(found.start() for found in _SEPARATOR.finditer(data)), len(data)):
        piece = data[start:mark]
        if _says_something(piece):
            count += 1
            if count > MOST_DOCUMENTS:
                raise SpecError(
                    f"more than {MOST_DOCUMENTS} documents", place=place, hint="split the file"
                )
            yield load(b"\n" * data.count(b"\n", 0, start) + piece, place=place)
        start = mark


def _says_something(piece: bytes) -> bool:
    lines = (line.strip() for line in _SEPARATOR.sub(b"", piece).splitlines())
    return any(line and not line.startswith((b"#", b"%")) for line in lines)


def _objects(
    document: Document, value: Tree, path: FieldPath, *, depth: int
) -> Iterator[ClusterObject]:
    if not isinstance(value, dict):
        raise _wrong(document, path, "an object should stand here", "begin with `apiVersion: v1`")
    kind = value.get("kind")
    if kind in _LISTS:
        yield from _items(document, value, path, depth=depth)
    elif kind in (ObjectKind.SECRET.value, ObjectKind.CONFIG_MAP.value):
        yield _object(document, value, path)


def _items(
    document: Document, value: Tree, path: FieldPath, *, depth: int
) -> Iterator[ClusterObject]:
    items = value.get("items") if isinstance(value, dict) else None
    if not isinstance(items, list) or depth >= MOST_NESTED_LISTS:
        raise _wrong(document, (*path, "items"), "a list should stand here", "write its objects")
    for number, item in enumerate(items):
        yield from _objects(document, item, (*path, "items", number), depth=depth + 1)


def _object(document: Document, value: dict[str, Tree], path: FieldPath) -> ClusterObject:
    kind = ObjectKind(str(value["kind"]))
    metadata = _mapping(document, value, path, "metadata")
    where = (*path, "metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(document, where, "an object needs a name", "write `name:` under `metadata`")
    namespace = metadata.get("namespace", DEFAULT_NAMESPACE)
    secret_type = value.get("type")
    return ClusterObject(
        ref=ObjectRef(kind, str(namespace), name),
        data=dict(_values(document, value, path, kind)),
        labels=_texts(document, metadata, where, "labels"),
        annotations=_texts(document, metadata, where, "annotations"),
        type=secret_type if isinstance(secret_type, str) else "",
        immutable=value.get("immutable") is True,
    )


def _values(
    document: Document, value: dict[str, Tree], path: FieldPath, kind: ObjectKind
) -> Iterator[tuple[str, SecretBytes]]:
    """Yield the values; of a Secret `stringData` wins over `data`, as in the API."""
    is_secret = kind is ObjectKind.SECRET
    for member, encoded in (
        ("data", is_secret),
        ("binaryData", True),
        ("stringData", False),
    ):
        if member == ("binaryData" if is_secret else "stringData"):
            continue
        for key, text in _texts(document, value, path, member).items():
            where = (*path, member, key)
            content = _decoded(document, where, text) if encoded else text.encode("utf-8")
            yield key, SecretBytes(content)


def _decoded(document: Document, path: FieldPath, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(document, path, "no base64", "encode it: `base64 -w0 FILE`") from None


def _mapping(
    document: Document, value: dict[str, Tree], path: FieldPath, member: str
) -> dict[str, Tree]:
    found = value.get(member)
    if found is None:
        return {}
    if not isinstance(found, dict):
        hint = "write keys and values"
        raise _wrong(document, (*path, member), "a mapping should stand here", hint)
    return found


def _texts(
    document: Document, value: dict[str, Tree], path: FieldPath, member: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in _mapping(document, value, path, member).items():
        if not isinstance(text, str):
            where = (*path, member, key)
            raise _wrong(document, where, "a text should stand here", "put it into quotes")
        found[key] = text
    return found


def _wrong(document: Document, path: FieldPath, message: str, hint: str) -> SpecError:
    return SpecError(message, place=document.place(path), field=field_name(path), hint=hint)
