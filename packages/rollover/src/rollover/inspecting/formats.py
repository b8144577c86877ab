"""Which format some bytes are in, and what they hold: PEM, DER, PKCS#7, PKCS#12."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from rollover.errors import PemError
from rollover.fleet.secret import SecretBytes
from rollover.inspecting import pem, pkcs12
from rollover.inspecting.found import Finding, Kind, Patience
from rollover.inspecting.pem import Part
from rollover.pki.blocks import BEGIN
from rollover.pki.der import INTEGER, OBJECT_IDENTIFIER, SEQUENCE, DamagedDerError, element
from rollover.pki.pem import PEM_LIMIT

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
    patience: Patience


def holds_pem(data: bytes) -> bool:
    """Say whether a PEM block begins somewhere."""
    return BEGIN in data


def binary(data: bytes) -> Binary:
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
        # Cut short, or nonsense: what it was meant to be is a certificate, most of all.
        return Binary.CERTIFICATE
    if first.tag != INTEGER:
        return Binary.NONE if first.tag == OBJECT_IDENTIFIER else Binary.CERTIFICATE
    whole = data[first.start : first.end]
    is_archive = whole == _PKCS12_VERSION and second.tag == SEQUENCE
    return Binary.PKCS12 if is_archive else Binary.KEY


def read_binary(data: bytes, *, name: str, opening: Opening) -> Iterator[Finding]:
    """Yield what DER holds as one source."""
    kinds = {Binary.PKCS7: Kind.PKCS7, Binary.PKCS12: Kind.PKCS12}
    form = binary(data)
    parts = list(binary_parts(data, place=name, opening=opening))
    yield from pem.gathered(parts, name=name, kind=kinds.get(form, Kind.DER))


def binary_parts(data: bytes, *, place: str, opening: Opening) -> Iterator[Part]:
    """Yield the certificates and keys of DER; `PemError` when it is too large."""
    if len(data) > PEM_LIMIT:
        raise PemError(f"more than {PEM_LIMIT:,} bytes", place=place, hint="this is no certificate")
    match binary(data):
        case Binary.PKCS7:
            yield from pem.pkcs7_certificates(data, place=place)
        case Binary.PKCS12:
            yield from pkcs12.parts_of(
                data, place=place, password=opening.password, patience=opening.patience
            )
        case Binary.KEY:
            yield pem.key_of_der(data, place=place)
        case Binary.CERTIFICATE | Binary.NONE:
            yield pem.certificate(data, place=place)


def parts_of(data: bytes, *, place: str, opening: Opening, by_line: bool = True) -> list[Part]:
    """Return the certificates and keys of PEM or DER, whichever it is."""
    if holds_pem(data):
        return list(pem.parts_of(data, place=place, patience=opening.patience, by_line=by_line))
    return list(binary_parts(data, place=place, opening=opening))
