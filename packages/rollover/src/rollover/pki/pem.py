"""Reads and writes PEM files of certificates, and says what each TLS stack would make of them.

There are two readers on purpose. One is tolerant and finds what a person would see in the file;
the other is Go's encoding/pem, quirks included, so that it is known what a Go peer loads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.names import short
from rollover.pki.certificate import anatomy, parse_der
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
    blocks = split_blocks(data)
    for block in blocks:
        if block.damage == NO_END:
            raise PemError(
                f"block `{block.label}` is truncated: {block.damage}",
                place=place_of(block.line, file=place),
                hint="write the file again, complete",
            )
    by_fingerprint: dict[str, Certificate] = {}
    remarks = list(_file_remarks(data))
    for block in blocks:
        remarks += _block_remarks(block)
        if block.label not in _LABELS:
            continue
        found = _certificate(block)
        if isinstance(found, Remark):
            remarks.append(found)
            continue
        remarks += _certificate_remarks(found, block, seen=found.fingerprint in by_fingerprint)
        by_fingerprint.setdefault(found.fingerprint, found)
    if not by_fingerprint:
        raise _nothing(blocks, remarks, place=place)
    return PemReading(certificates=tuple(by_fingerprint.values()), remarks=tuple(remarks))


def loaded_by_go(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates that Go's AppendCertsFromPEM loads from a file, silently."""
    found: dict[str, Certificate] = {}
    for der in certificates(data[:PEM_LIMIT]):
        try:
            certificate = parse_der(der)
        except PemError:
            continue
        if not anatomy(certificate).go_refusal:
            found.setdefault(certificate.fingerprint, certificate)
    return tuple(found.values())


def write_certificates(certificates: Iterable[Certificate]) -> bytes:
    """Return the certificates as PEM, in order, each block on lines of its own."""
    return b"".join(_block(certificate.der) for certificate in certificates)


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


# The tolerant reader: what a person would see in the file.

BEGIN = b"-----BEGIN "
END = b"-----END "
DASHES = b"-----"
LONGEST_LABEL = 80
NO_END = "its end line is missing"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """One block from `BEGIN` to `END`, wherever on its line it begins."""

    label: str
    line: int
    """Line of its `BEGIN`, from 1."""
    content: bytes
    """What its base64 says; empty when that is damaged."""
    headers: bool
    """Whether header lines (`Name: value`) stand before the base64."""
    joined: bool
    """Whether it begins on the line on which the block before it ends."""
    damage: str
    """Why there is no content; empty when there is."""
    indented: bool = False
    """Whether something stands before its `BEGIN` on the line, other than a block's end."""
    trailing: bool = False
    """Whether text follows its `END` on the line, other than another block."""
    blank_lines: bool = False
    """Whether empty lines stand inside it, one directly below its `BEGIN` aside.

    That one ends a list of headers which is empty (OpenSSL, get_header_and_data of pem_lib.c).
    """


def split_blocks(data: bytes) -> tuple[Block, ...]:
    """Return all blocks in order. A block that cannot be read has no content, but `damage`."""
    return tuple(_blocks(data))


def place_of(line: int, *, file: str) -> str:
    """Return `file:line`, or the line alone when nobody says which file it is."""
    return f"{file}:{line}" if file else f"line {line}"


def _blocks(data: bytes) -> Iterator[Block]:
    line, counted, last_end = 1, 0, -1
    start = data.find(BEGIN)
    while start >= 0:
        following = data.find(BEGIN, start + len(BEGIN))
        limit = following if following >= 0 else len(data)
        line += data.count(b"\n", counted, start)
        counted = start
        joined = last_end >= 0 and b"\n" not in data[last_end:start]
        found, last_end = _cut_block(data, start, limit, line=line, joined=joined)
        yield found
        start = following


def _cut_block(
    data: bytes, start: int, limit: int, *, line: int, joined: bool
) -> tuple[Block, int]:
    """Return the block that begins at `start`, and where its end line ends (-1: nowhere)."""
    label_start = start + len(BEGIN)
    label_end = data.find(DASHES, label_start, min(limit, label_start + LONGEST_LABEL))
    label = data[label_start : max(label_end, label_start)].decode("ascii", "replace")
    body = label_end + len(DASHES)
    stop = data.find(END, body, limit) if label_end >= 0 else -1
    if stop < 0:
        return Block(label, line, b"", headers=False, joined=joined, damage=NO_END), -1
    end = stop + len(END)
    end_label = data[end : end + len(label)].decode("ascii", "replace")
    if end_label != label:
        damage = "its end line names another kind of block"
        return Block(label, line, b"", headers=False, joined=joined, damage=damage), end
    content, headers, damage = _content(data[body:stop])
    after = end + len(label) + len(DASHES)
    found = Block(
        label,
        line,
        content,
        headers=headers,
        joined=joined,
        damage=damage,
        indented=not joined and bool(_line_before(data, start)),
        trailing=bool(data[after : _line_end(data, after, limit)].strip()),
        blank_lines=_has_blank_lines(data[body:stop]),
    )
    return found, after


def _has_blank_lines(body: bytes) -> bool:
    _, *lines = body.splitlines() or [b""]
    if lines and not lines[0].strip():
        del lines[0]
    return any(not line.strip() for line in lines)


def _line_before(data: bytes, start: int) -> bytes:
    """Return what stands before `start` on its line, a byte order mark aside."""
    begin = data.rfind(b"\n", max(0, start - LONGEST_LABEL), start) + 1
    return data[begin or max(0, start - LONGEST_LABEL) : start].removeprefix(BYTE_ORDER_MARK)


def _line_end(data: bytes, after: int, limit: int) -> int:
    end = data.find(b"\n", after, limit)
    return end if end >= 0 else limit


def _content(body: bytes) -> tuple[bytes, bool, str]:
    """Return the decoded base64, whether headers stand before it, and the damage."""
    lines = body.split(b"\n")
    encoded = [line for line in lines if b":" not in line]
    try:
        content = base64.b64decode(b"".join(b"".join(encoded).split()), validate=True)
    except binascii.Error as error:
        return b"", len(encoded) < len(lines), f"its base64 is damaged ({error})"
    return content, len(encoded) < len(lines), "" if content else "it is empty"


# Go's reader: a port of the rules of `pem.Decode` and `CertPool.AppendCertsFromPEM`. No error is
# ever reported there; what does not fit is skipped.

_END_LINE = b"\n" + END
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


class GoBlock(NamedTuple):
    """A block that Go finds."""

    label: bytes
    headers: bool
    content: bytes


def certificates(data: bytes) -> Iterator[bytes]:
    """Yield the DER of the blocks which AppendCertsFromPEM would try to parse."""
    for block in blocks(data):
        if block.label == b"CERTIFICATE" and not block.headers:
            yield block.content


def blocks(data: bytes) -> Iterator[GoBlock]:
    """Yield the blocks that repeated calls of `pem.Decode` return."""
    position = 0
    while True:
        end = data.find(_END_LINE, position)
        if end < 0:
            return
        found, position = _decode(data, position, end)
        if found is not None:
            yield found


def _decode(data: bytes, position: int, end: int) -> tuple[GoBlock | None, int]:
    """Return the block that ends at `end`, and from where to go on."""
    trailer = end + len(_END_LINE)
    begin = data.rfind(BEGIN, position, end)
    if begin < 0 or (begin > position and data[begin - 1] != ord("\n")):
        return None, trailer
    label_line, body = _line(data, begin + len(BEGIN))
    if not label_line.endswith(DASHES):
        return None, trailer
    label = label_line.removesuffix(DASHES)
    content_start = _after_headers(data, body)
    headers = content_start > body
    if (headers and content_start > end) or not _end_line_fits(data, trailer, label):
        return None, trailer
    content = _base64(data[content_start:end]) if content_start < end else b""
    if content is None:
        return None, trailer
    return GoBlock(label, headers, content), _line(data, trailer)[1] if content else trailer


def _after_headers(data: bytes, position: int) -> int:
    while position < len(data):
        line, following = _line(data, position)
        if b":" not in line:
            break
        position = following
    return position


def _end_line_fits(data: bytes, trailer: int, label: bytes) -> bool:
    wanted = label + DASHES
    return (
        data[trailer : trailer + len(wanted)] == wanted
        and _line(data, trailer + len(wanted))[0] == b""
    )


def _line(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the line at `position` without what ends it, and where the next one begins."""
    stop = data.find(b"\n", position)
    if stop < 0:
        return data[position:].rstrip(b" \t\r\n"), len(data)
    line = data[position:stop].removesuffix(b"\r")
    return line.rstrip(b" \t"), stop + 1


def _base64(body: bytes) -> bytes | None:
    encoded = body.translate(None, b" \t\r\n")
    if not _ALPHABET.issuperset(encoded):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
