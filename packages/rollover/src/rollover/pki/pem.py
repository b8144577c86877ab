"""Reads and writes PEM files of certificates, and says what each TLS stack would make of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.names import short
from rollover.pki import gopem
from rollover.pki.anatomy import anatomy
from rollover.pki.blocks import BYTE_ORDER_MARK, NO_END, Block, place_of, split
from rollover.pki.certificate import parse_der
from rollover.pki.der import DamagedDerError, first_element

PEM_LIMIT = 4 * 1024 * 1024
"""Octets: some 3,000 certificates."""

LINE = 64
"""Characters of base64 on a line (RFC 7468 §2)."""

_DER_SEQUENCE = 0x30
_LABELS = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_BOTH = (Stack.GO, Stack.OPENSSL)


class RemarkKind(StrEnum):
    """What is odd about a PEM file; stable."""

    JOINED = "joined-blocks"
    """Two blocks meet on one line: Go drops both, OpenSSL refuses the file."""
    BYTE_ORDER_MARK = "byte-order-mark"
    """Go drops the first certificate."""
    TRUSTED = "trusted-certificate"
    """OpenSSL's own block: Go skips it."""
    HEADERS = "headers"
    """Lines `Name: value` in a block: Go skips it, OpenSSL refuses the file."""
    INDENTED = "indented-block"
    """Something stands before `BEGIN` on the line: both skip the certificate."""
    TRAILING = "text-after-end"
    """Text follows `END` on the line: Go drops the certificate, OpenSSL refuses the file."""
    BLANK_LINES = "blank-lines-inside"
    """OpenSSL refuses the file."""
    GARBAGE = "garbage-block"
    """Not a certificate: Go skips the block, OpenSSL refuses the file."""
    UNREADABLE_TO_GO = "unreadable-to-go"
    """Go's parser refuses the certificate and skips it."""
    FOLLOWED = "octets-after-certificate"
    """More than a certificate is encoded in a block: Go skips it, OpenSSL takes the certificate."""
    DUPLICATE = "duplicate"
    PRIVATE_KEY = "private-key"


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One oddity: its line (from 1), what it means, and the stacks that it matters to."""

    kind: RemarkKind
    line: int
    detail: str
    stacks: tuple[Stack, ...] = ()


class PemReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds: every certificate that a person would see in it, in order, and remarks."""

    certificates: tuple[Certificate, ...]
    remarks: tuple[Remark, ...] = ()


def read_certificates(data: bytes, *, place: str = "") -> PemReading:
    """Return the certificates of a PEM file, in its order, without duplicates.

    Survives CRLF, a byte order mark, a missing last newline, joined blocks, text around the
    blocks. A file that is empty, truncated, DER, a key, or without any certificate that can be
    read is a `PemError` with `place`, line and remedy.
    """
    _check_file(data, place=place)
    blocks = split(data)
    for block in blocks:
        if block.damage == NO_END:
            raise PemError(
                f"block `{block.label}` is truncated: {block.damage}",
                place=place_of(block.line, file=place),
                hint="write the file again, complete",
            )
    certificates: dict[str, Certificate] = {}
    remarks = list(_file_remarks(data))
    for block in blocks:
        remarks += _block_remarks(block)
        if block.label not in _LABELS:
            continue
        found = _certificate(block)
        if isinstance(found, Remark):
            remarks.append(found)
            continue
        remarks += _certificate_remarks(found, block, seen=found.fingerprint in certificates)
        certificates.setdefault(found.fingerprint, found)
    if not certificates:
        raise _nothing(blocks, remarks, place=place)
    return PemReading(certificates=tuple(certificates.values()), remarks=tuple(remarks))


def loaded_by_go(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates that Go's AppendCertsFromPEM loads from a file, silently."""
    found: dict[str, Certificate] = {}
    for der in gopem.certificates(data[:PEM_LIMIT]):
        try:
            certificate = parse_der(der)
        except PemError:
            continue
        if not anatomy(certificate).go_refusal:
            found.setdefault(certificate.fingerprint, certificate)
    return tuple(found.values())


def write_certificates(certificates: Iterable[Certificate]) -> bytes:
    """Return the certificates as PEM, in order, each block on lines of its own."""
    return b"".join(_block(one.der) for one in certificates)


def _block(der: bytes) -> bytes:
    encoded = base64.b64encode(der)
    lines = [encoded[start : start + LINE] for start in range(0, len(encoded), LINE)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----\n"))


def _check_file(data: bytes, *, place: str) -> None:
    if not data.strip():
        raise PemError("the file is empty", place=place, hint="write the certificate into it")
    if len(data) > PEM_LIMIT:
        raise PemError(
            f"the file has {len(data)} octets, more than the limit of {PEM_LIMIT}",
            place=place,
            hint="check that this is the certificate file",
        )
    if data[0] == _DER_SEQUENCE and b"-----BEGIN" not in data:
        raise PemError(
            "the file is DER, not PEM",
            place=place,
            hint="convert it: `openssl x509 -inform der -in file -out file.pem`",
        )


def _file_remarks(data: bytes) -> Iterator[Remark]:
    if data.startswith(BYTE_ORDER_MARK):
        yield Remark(
            kind=RemarkKind.BYTE_ORDER_MARK,
            line=1,
            detail="the file begins with a byte order mark: Go drops the first certificate",
            stacks=(Stack.GO,),
        )


def _block_remarks(block: Block) -> Iterator[Remark]:
    if block.joined:
        yield Remark(
            kind=RemarkKind.JOINED,
            line=block.line,
            detail="a block begins on the line on which another ends: Go drops both, "
            "OpenSSL refuses the file; put a newline between them",
            stacks=_BOTH,
        )
    if block.label.endswith("PRIVATE KEY"):
        yield Remark(
            kind=RemarkKind.PRIVATE_KEY,
            line=block.line,
            detail="a private key stands among the certificates; keep it in a file of its own",
        )
    if block.label == "TRUSTED CERTIFICATE":
        yield Remark(
            kind=RemarkKind.TRUSTED,
            line=block.line,
            detail="Go skips `TRUSTED CERTIFICATE` blocks; write it with `openssl x509`",
            stacks=(Stack.GO,),
        )
    if block.headers and block.label in _LABELS:
        yield Remark(
            kind=RemarkKind.HEADERS,
            line=block.line,
            detail="header lines in a block: Go skips it, OpenSSL refuses the file; remove them",
            stacks=_BOTH,
        )
    if block.label in _LABELS:
        yield from _layout_remarks(block)


def _layout_remarks(block: Block) -> Iterator[Remark]:
    if block.indented:
        yield Remark(
            kind=RemarkKind.INDENTED,
            line=block.line,
            detail="something stands before `-----BEGIN` on its line: both stacks skip it",
            stacks=_BOTH,
        )
    if block.trailing:
        yield Remark(
            kind=RemarkKind.TRAILING,
            line=block.line,
            detail="text follows the end line of the block: Go skips it, OpenSSL refuses the file",
            stacks=_BOTH,
        )
    if block.blank_lines and not block.headers:
        yield Remark(
            kind=RemarkKind.BLANK_LINES,
            line=block.line,
            detail="empty lines inside the block: OpenSSL refuses the file",
            stacks=(Stack.OPENSSL,),
        )


def _certificate(block: Block) -> Certificate | Remark:
    if not block.content:
        return _garbage(block, block.damage)
    try:
        return parse_der(first_element(block.content))
    except (PemError, DamagedDerError) as error:
        return _garbage(block, str(error))


def _garbage(block: Block, reason: str) -> Remark:
    return Remark(
        kind=RemarkKind.GARBAGE,
        line=block.line,
        detail=f"this block is no certificate ({reason}): Go skips it, OpenSSL refuses the file",
        stacks=_BOTH,
    )


def _certificate_remarks(found: Certificate, block: Block, *, seen: bool) -> Iterator[Remark]:
    if seen:
        yield Remark(
            kind=RemarkKind.DUPLICATE,
            line=block.line,
            detail=f"certificate `{short(found.fingerprint)}` stands in the file before",
        )
    # OpenSSL's own label has its trust settings there, and is remarked on by itself.
    if len(block.content) > len(found.der) and block.label != "TRUSTED CERTIFICATE":
        yield Remark(
            kind=RemarkKind.FOLLOWED,
            line=block.line,
            detail=f"octets follow certificate `{short(found.fingerprint)}` inside its block: "
            "Go skips it",
            stacks=(Stack.GO,),
        )
    refusal = anatomy(found).go_refusal
    if refusal:
        yield Remark(
            kind=RemarkKind.UNREADABLE_TO_GO,
            line=block.line,
            detail=f"Go skips certificate `{short(found.fingerprint)}`: {refusal}",
            stacks=(Stack.GO,),
        )


def _nothing(blocks: tuple[Block, ...], remarks: list[Remark], *, place: str) -> PemError:
    for remark in remarks:
        if remark.kind is RemarkKind.GARBAGE:
            return PemError(
                remark.detail,
                place=place_of(remark.line, file=place),
                hint="fetch or issue the certificate again",
            )
    if any(block.label.endswith("PRIVATE KEY") for block in blocks):
        return PemError(
            "a private key where a certificate belongs",
            place=place,
            hint="certificate and key files may be swapped",
        )
    return PemError(
        "no certificate in it",
        place=place,
        hint="a certificate file has a block `-----BEGIN CERTIFICATE-----`",
    )
