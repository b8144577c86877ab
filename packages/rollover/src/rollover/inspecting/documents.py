"""Certificates in YAML and JSON: Kubernetes objects, vars stores, manifests, anything with PEM."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from rollover.codec.strict_yaml import Document, Path, Tree, load
from rollover.codec.typed import field_name
from rollover.errors import SpecError
from rollover.inspecting import pem
from rollover.inspecting.formats import Opening, parts_of
from rollover.inspecting.found import Finding, Kind
from rollover.inspecting.pem import Part

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
    kind: Kind
    value: Tree
    path: Path


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


def read_document(document: Document, *, name: str, opening: Opening) -> Iterator[Finding]:
    """Yield a source for every object of a document that holds certificates or keys."""
    for found in _objects(document.value, name):
        parts = list(_object_parts(document, found, opening))
        yield from pem.gathered(parts, name=found.name, kind=found.kind)


def _objects(value: Tree, name: str, path: Path = ()) -> Iterator[Object]:
    items = value.get("items") if isinstance(value, dict) else None
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(items, list):
        for number, item in enumerate(items):
            yield Object(*_named(item, name), item, (*path, "items", number))
    else:
        yield Object(*_named(value, name), value, path)


def _named(value: Tree, name: str) -> tuple[str, Kind]:
    if not isinstance(value, dict) or not isinstance(value.get("apiVersion"), str):
        return name, Kind.YAML
    about = value.get("metadata")
    named = about if isinstance(about, dict) else {}
    where = "/".join(str(named[key]) for key in ("namespace", "name") if key in named)
    return f"{name}: {value.get('kind')} {where}".rstrip(), Kind.KUBERNETES


def _object_parts(document: Document, found: Object, opening: Opening) -> Iterator[Part]:
    is_object = isinstance(found.value, dict) and found.value.get("kind") in _OBJECTS
    for path, text in _texts(found.value):
        content = _content(text, path, binary=is_object)
        if content:
            whole = (*found.path, *path)
            place = f"{document.place(whole)}: {field_name(whole)}"
            yield from parts_of(content, place=place, opening=opening, by_line=False)


def _texts(value: Tree) -> Iterator[tuple[Path, str]]:
    """Yield every text of a value in its order, with its path; no recursion to run deep."""
    waiting: list[tuple[Path, Tree]] = [((), value)]
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


def _content(text: str, path: Path, *, binary: bool) -> bytes:
    """Return the PEM or DER that a text stands for, empty when it stands for none."""
    if _BEGIN in text:
        # JSON in an environment variable, and the like: the line ends are written out.
        plain = text if "\n" in text else text.replace("\\n", "\n")
        return plain.encode("utf-8", "replace")
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
