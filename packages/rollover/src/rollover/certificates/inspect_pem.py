"""Certificates and keys of PEM and DER, each with its place."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from rollover.certificates.inspect_findings import (
    FoundCertificate,
    FoundKey,
    Inspected,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    SourceKind,
    problem_of,
)
from rollover.errors import PemError
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys
from rollover.pki.certificate import parse_der
from rollover.pki.der import DamagedDerError, first_element
from rollover.pki.pem import PEM_LIMIT, Block, RemarkKind, place_of, read_certificates, split_blocks

MOST_BLOCKS = 5_000
MOST_PROBLEMS = 100
"""That are told one by one of one source."""
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
"""OpenSSL's three; the last has settings of trust behind the certificate (PEM_read_X509(3))."""
_PKCS7 = ("PKCS7", "CMS", "PKCS #7 SIGNED DATA")
_SHOWN_OTHERWISE = (RemarkKind.GARBAGE, RemarkKind.PRIVATE_KEY)
_DAMAGED = "fetch or issue it again"

FoundPart = FoundCertificate | FoundKey | InspectionProblem


def read_pem(data: bytes, *, name: str, deadline: InspectionDeadline) -> Iterator[Inspected]:
    """Yield a PEM file as one source, and a problem for every block that cannot be read."""
    parts = list(parts_of_blocks(data, place=name, deadline=deadline))
    yield from gathered(parts, name=name, kind=SourceKind.PEM, remarks=_remarks(data))


def gathered(
    parts: list[FoundPart], *, name: str, kind: SourceKind, remarks: tuple[str, ...] = ()
) -> Iterator[Inspected]:
    """Yield the source that the parts make together, if any, and their problems."""
    certificates = tuple(part for part in parts if isinstance(part, FoundCertificate))
    found_keys = tuple(part for part in parts if isinstance(part, FoundKey))
    if certificates or found_keys:
        yield InspectedSource(
            name=name, kind=kind, certificates=certificates, keys=found_keys, remarks=remarks
        )
    troubles = [part for part in parts if isinstance(part, InspectionProblem)]
    yield from troubles[:MOST_PROBLEMS]
    if len(troubles) > MOST_PROBLEMS:
        more = f"{len(troubles) - MOST_PROBLEMS:,} more blocks cannot be read"
        yield _broken(more, name, hint="correct the first ones")


def parts_of_blocks(
    data: bytes, *, place: str, deadline: InspectionDeadline, by_line: bool = True
) -> Iterator[FoundPart]:
    """Yield certificates, keys and problems of PEM text in their order.

    `by_line`: places are `place:line`; otherwise all of it stands at `place`.
    """
    if len(data) > PEM_LIMIT:
        yield _broken(f"more than {PEM_LIMIT:,} bytes of PEM", place, hint="split the file")
        return
    for number, block in enumerate(split_blocks(data)):
        where = place_of(block.line, file=place) if by_line else place
        if number >= MOST_BLOCKS or deadline.over:
            yield _broken("this and what follows was not read: too much", where, hint="split it")
            return
        yield from _block(block, where)


def _block(block: Block, place: str) -> Iterator[FoundPart]:
    if block.label.endswith("PRIVATE KEY"):
        yield _key(block, place)
    elif block.label in (*_CERTIFICATES, *_PKCS7) and not block.content:
        yield _broken(f"block `{block.label}` is damaged: {block.damage}", place, hint=_DAMAGED)
    elif block.label in _CERTIFICATES:
        yield certificate_of_der(block.content, place=place)
    elif block.label in _PKCS7:
        yield from pkcs7_certificates(block.content, place=place)


def certificate_of_der(der: bytes, *, place: str) -> FoundCertificate | InspectionProblem:
    """Return the certificate at the beginning of `der`, or why there is none."""
    try:
        return FoundCertificate(parse_der(first_element(der), place=place), place)
    except PemError as error:
        return problem_of(error)
    except DamagedDerError as error:
        return _broken(f"the certificate is damaged: {error}", place, hint=_DAMAGED)


def pkcs7_certificates(der: bytes, *, place: str) -> Iterator[FoundCertificate | InspectionProblem]:
    """Yield the certificates of a PKCS#7 message (RFC 2315, degenerate signed data)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of BER, which it still reads
            found = [
                certificate.public_bytes(Encoding.DER)
                for certificate in pkcs7.load_der_pkcs7_certificates(der)
            ]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        yield _broken(f"the PKCS#7 message is damaged: {error}", place, hint=_DAMAGED)
        return
    for data in found[:MOST_BLOCKS]:
        yield certificate_of_der(data, place=place)


def key_of_der(der: bytes, *, place: str) -> FoundKey:
    """Return what is known of an unencrypted key in DER, of whatever form."""
    # Without a label only reading shows the form: PKCS#8, PKCS#1, or SEC 1.
    for label in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"):
        found = _read_key(label, der, place)
        if not found.problem:
            return found
    return FoundKey(place=place, problem="it cannot be read")


def _key(block: Block, place: str) -> FoundKey:
    # PKCS#8 says so in its label, the older forms in a header (`Proc-Type: 4,ENCRYPTED`, RFC 1421).
    if "ENCRYPTED" in block.label or block.headers:
        return FoundKey(place=place, problem="it is encrypted")
    if not block.content:
        return FoundKey(place=place, problem=block.damage or "it is empty")
    return _read_key(block.label, block.content, place)


def _read_key(label: str, der: bytes, place: str) -> FoundKey:
    pem = SecretBytes(
        b"-----BEGIN %b-----\n%b\n-----END %b-----\n"
        % (label.encode(), base64.b64encode(der), label.encode())
    )
    try:
        key = keys.from_pem(pem.reveal(), place=place)
    except PemError:
        # The text of the error is for a file that should be a key; here it is enough to say so.
        return FoundKey(place=place, problem="it is damaged, or of a kind that is not for TLS")
    return FoundKey(place=place, kind=key.kind, key_identity=key.key_identity)


def _remarks(data: bytes) -> tuple[str, ...]:
    try:
        reading = read_certificates(data)
    except PemError:
        return ()
    return tuple(
        f"line {remark.line}: {remark.detail}"
        for remark in reading.remarks
        if remark.kind not in _SHOWN_OTHERWISE
    )


def _broken(message: str, place: str, *, hint: str) -> InspectionProblem:
    return problem_of(PemError(message, place=place, hint=hint))
