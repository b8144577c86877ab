"""Writes the DER of certificates: names and extensions go in byte for byte as they were given."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime

from rollover.pki.der import (
    BOOLEAN,
    EXTENSIONS,
    INTEGER,
    OBJECT_IDENTIFIER,
    SEQUENCE,
    VERSION,
    RawExtension,
)

BIT_STRING = 0x03
OCTET_STRING = 0x04
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
KEY_ID = 0x80
"""AuthorityKeyIdentifier: `keyIdentifier [0]`."""

FIRST_YEAR_IN_FULL = 2050
"""RFC 5280 §4.1.2.5: up to 2049 a year has two digits."""

_LONG_FORM = 0x80
_VERSION_3 = 2


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element that holds the parts one after the other."""
    body = b"".join(parts)
    length = len(body)
    if length < _LONG_FORM:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(octets))) + octets + body


def integer(value: int) -> bytes:
    """Return a number that is not negative."""
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
        tlv(EXTENSIONS, tlv(SEQUENCE, *(_extension(one) for one in extensions))),
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


_TRUE = tlv(BOOLEAN, b"\xff")


def _extension(found: RawExtension) -> bytes:
    critical = _TRUE if found.critical else b""
    return tlv(SEQUENCE, object_identifier(found.oid), critical, tlv(OCTET_STRING, found.value))


def _base_128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))
