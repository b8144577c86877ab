"""The DER of certificates, cut into raw parts and written.

Names are never decoded and encoded again: they compare and stay byte for byte, as for Go.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

BOOLEAN = 0x01
INTEGER = 0x02
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
VERSION = 0xA0
EXTENSIONS = 0xA3

_LONG_FORM = 0x80
_LONGEST_LENGTH = 4
_HIGH_TAG = 0x1F


class DamagedDerError(ValueError):
    """The bytes are not the DER of a certificate. Stays inside this package."""


class Element(NamedTuple):
    """One tag-length-value: offsets into the bytes that it was found in."""

    tag: int
    start: int
    body: int
    end: int


class RawExtension(NamedTuple):
    """An extension as it stands in the certificate: `value` is the content of its octet string."""

    oid: str
    critical: bool
    value: bytes


class Outline(NamedTuple):
    """The raw parts of a certificate; `issuer`, `subject` and `key` are whole elements."""

    version: int
    serial: int
    issuer_name: bytes
    subject: bytes
    key: bytes
    extensions: tuple[RawExtension, ...]


def element(data: bytes, offset: int, *, limit: int) -> Element:
    """Return the element that begins at `offset` and ends at or before `limit`."""
    if offset + 2 > limit:
        raise DamagedDerError("it ends in the middle of an element")
    tag, length, body = data[offset], data[offset + 1], offset + 2
    # Nothing in the frame of a certificate has one (RFC 5280 §4.1).
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise DamagedDerError("it holds a tag of several octets")
    if length >= _LONG_FORM:
        octets = length - _LONG_FORM
        if not 1 <= octets <= _LONGEST_LENGTH or body + octets > limit:
            raise DamagedDerError("an element has no usable length")
        length = int.from_bytes(data[body : body + octets], "big")
        body += octets
    if body + length > limit:
        raise DamagedDerError("it is shorter than it says")
    return Element(tag, offset, body, body + length)


def first_element(data: bytes) -> bytes:
    """Return the first whole element of `data`: a certificate without what follows it."""
    return data[: element(data, 0, limit=len(data)).end]


def outline(der: bytes) -> Outline:
    """Return the raw parts of a certificate (RFC 5280 §4.1); `DamagedDerError` when it has none."""
    whole = _expect(element(der, 0, limit=len(der)), SEQUENCE)
    if whole.end != len(der):
        raise DamagedDerError("bytes follow its end")
    parts = list(_children(der, _expect(element(der, whole.body, limit=whole.end), SEQUENCE)))
    version = 1
    if parts and parts[0].tag == VERSION:
        version = 1 + _integer(der, element(der, parts[0].body, limit=parts[0].end))
        parts = parts[1:]
    if len(parts) < len(("serial", "algorithm", "issuer", "validity", "subject", "key")):
        raise DamagedDerError("it lacks parts of a certificate")
    serial, _, issuer, _, subject, key, *rest = parts
    return Outline(
        version=version,
        serial=_integer(der, serial),
        issuer_name=der[issuer.start : issuer.end],
        subject=der[subject.start : subject.end],
        key=der[key.start : key.end],
        extensions=tuple(_extensions(der, rest)),
    )


def key_bits(spki: bytes) -> bytes:
    """Return the bits of the key itself within a subject public key info."""
    parts = list(_children(spki, element(spki, 0, limit=len(spki))))
    return spki[parts[1].body + 1 : parts[1].end]


def _children(data: bytes, parent: Element) -> Iterator[Element]:
    offset = parent.body
    while offset < parent.end:
        child = element(data, offset, limit=parent.end)
        yield child
        offset = child.end


def _expect(found: Element, tag: int) -> Element:
    if found.tag != tag:
        raise DamagedDerError(f"a part has tag {found.tag:#04x} where {tag:#04x} belongs")
    return found


def _integer(data: bytes, found: Element) -> int:
    _expect(found, INTEGER)
    return int.from_bytes(data[found.body : found.end], "big", signed=True)


def _extensions(data: bytes, parts: list[Element]) -> Iterator[RawExtension]:
    for part in parts:
        if part.tag != EXTENSIONS:
            continue
        for extension in _children(
            data, _expect(element(data, part.body, limit=part.end), SEQUENCE)
        ):
            yield _extension(data, extension)


def _extension(data: bytes, found: Element) -> RawExtension:
    parts = list(_children(data, _expect(found, SEQUENCE)))
    if len(parts) < len(("oid", "value")):
        raise DamagedDerError("an extension lacks its value")
    oid, value = _expect(parts[0], OBJECT_IDENTIFIER), parts[-1]
    flagged = parts[1].tag == BOOLEAN and data[parts[1].body : parts[1].end] != b"\x00"
    return RawExtension(_dotted(data[oid.body : oid.end]), flagged, data[value.body : value.end])


def _dotted(body: bytes) -> str:
    arcs, arc = [], 0
    for octet in body:
        arc = (arc << 7) | (octet & 0x7F)
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs:
        raise DamagedDerError("an object identifier is empty")
    # X.690 §8.19.4: the first two arcs are one number, and only below 2 is the second under 40.
    top = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (top, arcs[0] - 40 * top, *arcs[1:]))


# Writing: names and extensions go in byte for byte as they were given.

BIT_STRING = 0x03
OCTET_STRING = 0x04
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
KEY_ID = 0x80
"""AuthorityKeyIdentifier: `keyIdentifier [0]`."""

FIRST_YEAR_IN_FULL = 2050
"""RFC 5280 §4.1.2.5: up to 2049 a year has two digits."""

_VERSION_3 = 2


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element that holds the parts one after the other."""
    body = b"".join(parts)
    length = len(body)
    if length < _LONG_FORM:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(octets))) + octets + body


_TRUE = tlv(BOOLEAN, b"\xff")


def integer(value: int) -> bytes:
    """Return a number that is not negative."""
    # Always room for a bit that is 0: with the highest one set it would be negative.
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@functools.lru_cache(maxsize=256)
def object_identifier(dotted: str) -> bytes:
    """Return an object identifier from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(OBJECT_IDENTIFIER, *(_base_128(arc) for arc in (40 * first + second, *rest)))


@functools.lru_cache(maxsize=256)
def instant(moment: datetime) -> bytes:
    """Return an instant in UTC, whole seconds."""
    if moment.year < FIRST_YEAR_IN_FULL:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return tlv(GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def to_be_signed(
    *,
    serial: int,
    algorithm: bytes,
    issuer: bytes,
    validity: tuple[datetime, datetime],
    subject: bytes,
    key: bytes,
    extensions: Iterable[RawExtension],
) -> bytes:
    """Return the part of a certificate that is signed (RFC 5280 §4.1)."""
    return tlv(
        SEQUENCE,
        tlv(VERSION, integer(_VERSION_3)),
        integer(serial),
        algorithm,
        issuer,
        tlv(SEQUENCE, *(instant(moment) for moment in validity)),
        subject,
        key,
        tlv(EXTENSIONS, tlv(SEQUENCE, *(_encode_extension(extension) for extension in extensions))),
    )


def signed(content: bytes, *, algorithm: bytes, signature: bytes) -> bytes:
    """Return the certificate from its signed part and the signature."""
    return tlv(SEQUENCE, content, algorithm, tlv(BIT_STRING, b"\x00", signature))


def subject_key_id(digest: bytes) -> bytes:
    """Return the content of a subject key identifier."""
    return tlv(OCTET_STRING, digest)


def authority_key_id(digest: bytes) -> bytes:
    """Return the content of an authority key identifier in key id form."""
    return tlv(SEQUENCE, tlv(KEY_ID, digest))


def basic_constraints(*, is_ca: bool, path_length: int | None) -> bytes:
    """Return the content of basic constraints; defaults are left out, as DER wants."""
    if not is_ca:
        return tlv(SEQUENCE)
    return tlv(SEQUENCE, _TRUE, b"" if path_length is None else integer(path_length))


def _encode_extension(found: RawExtension) -> bytes:
    critical = _TRUE if found.critical else b""
    return tlv(SEQUENCE, object_identifier(found.oid), critical, tlv(OCTET_STRING, found.value))


def _base_128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))
