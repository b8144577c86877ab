"""The verdict of an OpenSSL peer, by OpenSSL's own verifier (Python, C and Ruby clients)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from OpenSSL import crypto
from OpenSSL._util import lib  # pyOpenSSL wraps everything but the purpose of a store

from rollover.fleet.certificate import Fault, FaultKind, Question, Usage
from rollover.pki import paths
from rollover.pki.certificate import WEAK_HASHES
from rollover.pki.names import covers, ip_address
from rollover.pki.paths import PathLink

DEFAULT_FLAGS = 0
"""What OpenSSL 3 and `ssl.create_default_context` up to Python 3.12 verify with: nothing extra.

`X509_V_FLAG_TRUSTED_FIRST` is always on since OpenSSL 1.1; `X509_V_FLAG_PARTIAL_CHAIN` is off, so
only a self-signed certificate is an anchor.
"""
STRICT_PARTIAL_FLAGS = crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN
"""What `ssl.create_default_context` of Python 3.13 and later verifies with."""

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of x509_vfy.h, which pyOpenSSL does not name."""

TIME_KINDS = (FaultKind.EXPIRED, FaultKind.NOT_YET_VALID)

SMALLEST_RSA_BITS = 2048
SMALLEST_EC_BITS = 224
"""Security level 2 (SSL_CTX_set_security_level): Python's default, Debian's, and OpenSSL 3.2's."""

PURPOSES = {Usage.SERVER: lib.X509_PURPOSE_SSL_SERVER, Usage.CLIENT: lib.X509_PURPOSE_SSL_CLIENT}

# X509_V_ERR_* of x509_vfy.h; every other number is a rule of RFC 5280 broken: a constraint.
ERROR_KINDS = {
    2: FaultKind.NO_PATH,
    4: FaultKind.MALFORMED,
    6: FaultKind.MALFORMED,
    7: FaultKind.SIGNATURE,
    9: FaultKind.NOT_YET_VALID,
    10: FaultKind.EXPIRED,
    13: FaultKind.MALFORMED,
    14: FaultKind.MALFORMED,
    18: FaultKind.NO_PATH,
    19: FaultKind.NO_PATH,
    20: FaultKind.NO_PATH,
    21: FaultKind.NO_PATH,
    26: FaultKind.USAGE,
    27: FaultKind.NO_PATH,
    28: FaultKind.USAGE,
    29: FaultKind.NO_PATH,
    30: FaultKind.NO_PATH,
    31: FaultKind.NO_PATH,
    66: FaultKind.WEAK,
    67: FaultKind.WEAK,
    68: FaultKind.WEAK,
}


class OpensslOutcome(NamedTuple):
    """What one run of the verifier said: the path it accepts, or its first error."""

    path: tuple[bytes, ...] = ()
    """DER of the certificates from the leaf to the anchor; empty when it refuses."""
    kind: FaultKind = FaultKind.CONSTRAINT
    detail: str = ""
    culprit: bytes = b""


class OpensslStack:
    """Asks OpenSSL. It stops at its first error, so errors are lifted one by one to find all."""

    def __init__(self, *, flags: int = DEFAULT_FLAGS) -> None:
        self._flags = flags
        self._converted: dict[str, crypto.X509] = {}

    def faults(
        self, question: Question, *, chain: Sequence[PathLink], bundle: Sequence[PathLink]
    ) -> list[Fault]:
        """Return everything for which an OpenSSL peer refuses the chain; empty when it accepts."""
        unreadable = [link for link in (*chain, *bundle) if not self._readable(link)]
        if unreadable:
            return [
                paths.fault(link, FaultKind.MALFORMED, "OpenSSL cannot read it")
                for link in unreadable
            ]
        found = [*_name_faults(chain[0], question.name), *_key_faults(chain[0])]
        return found + self._path_faults(question, chain, bundle)

    def _path_faults(
        self, question: Question, chain: Sequence[PathLink], bundle: Sequence[PathLink]
    ) -> list[Fault]:
        known = {link.certificate.der: link for link in (*chain, *bundle)}
        found: list[Fault] = []
        instant: datetime | None = question.instant
        usage: Usage | None = question.usage
        while True:
            outcome = self._run(chain, bundle, instant=instant, usage=usage)
            if outcome.path:
                path = [known[der] for der in outcome.path if der in known]
                return _merged(found, _accepted_path_faults(path, question.instant))
            found.append(_outcome_fault(outcome, known))
            if outcome.kind in TIME_KINDS and instant is not None:
                instant = None
            elif outcome.kind is FaultKind.USAGE and usage is not None:
                usage = None
            else:
                return _merged(found, paths.time_faults(chain[0], question.instant))

    def _run(
        self,
        chain: Sequence[PathLink],
        bundle: Sequence[PathLink],
        *,
        instant: datetime | None,
        usage: Usage | None,
    ) -> OpensslOutcome:
        store = self._store(bundle, instant=instant, usage=usage)
        leaf, *others = (self._convert(link) for link in chain)
        try:
            path = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            code, _, text = error.errors
            return OpensslOutcome(
                kind=ERROR_KINDS.get(code, FaultKind.CONSTRAINT),
                detail=f"{text} (OpenSSL error {code})",
                culprit=_der(error.certificate),
            )
        return OpensslOutcome(path=tuple(_der(certificate) for certificate in path))

    def _store(
        self, bundle: Sequence[PathLink], *, instant: datetime | None, usage: Usage | None
    ) -> crypto.X509Store:
        store = crypto.X509Store()
        for anchor in bundle:
            store.add_cert(self._convert(anchor))
        if instant is None:
            store.set_flags(self._flags | NO_CHECK_TIME)
        else:
            store.set_flags(self._flags)
            store.set_time(instant)
        if usage is not None:
            lib.X509_STORE_set_purpose(store._store, PURPOSES[usage])  # noqa: SLF001 - see lib
        return store

    def _readable(self, found: PathLink) -> bool:
        try:
            self._convert(found)
        except crypto.Error:
            return False
        return True

    def _convert(self, found: PathLink) -> crypto.X509:
        fingerprint = found.certificate.fingerprint
        if fingerprint not in self._converted:
            der = found.certificate.der
            self._converted[fingerprint] = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
        return self._converted[fingerprint]


def covers_as_openssl(leaf: PathLink, name: str) -> bool:
    """Return whether OpenSSL takes the leaf for `name` (X509_check_host with Python's flags).

    Without any DNS name among the SANs the common name counts; a wildcard needs two dots.
    """
    certificate = leaf.certificate
    if ip_address(name) is not None:
        return covers(certificate.ip_addresses, name)
    if name.endswith("."):
        return False
    names = certificate.dns_names or leaf.parts.common_names
    return covers([known for known in names if _usable_pattern(known)], name)


def _usable_pattern(name: str) -> bool:
    return not name.startswith("*") or name.count(".") >= len(("*.", ".com"))


def _name_faults(leaf: PathLink, name: str | None) -> Iterator[Fault]:
    if name is None or covers_as_openssl(leaf, name):
        return
    given = ", ".join(f"`{known}`" for known in leaf.certificate.names) or "no name"
    yield paths.fault(leaf, FaultKind.NAME, f"`{name}` is expected, valid for {given}")


def _accepted_path_faults(path: Sequence[PathLink], instant: datetime) -> Iterator[Fault]:
    for depth, found in enumerate(path):
        yield from paths.time_faults(found, instant)
        if depth:
            yield from _key_faults(found)
        if depth < len(path) - 1 and found.certificate.signature in WEAK_HASHES:
            detail = f"its signature uses {found.certificate.signature}, below security level 2"
            yield paths.fault(found, FaultKind.WEAK, detail)


def _key_faults(found: PathLink) -> Iterator[Fault]:
    kind, _, bits = found.certificate.key.partition("-")
    smallest = {"rsa": SMALLEST_RSA_BITS, "dsa": SMALLEST_RSA_BITS, "p": SMALLEST_EC_BITS}.get(kind)
    if smallest is not None and bits.isdecimal() and int(bits) < smallest:
        detail = f"its key `{found.certificate.key}` is below security level 2"
        yield paths.fault(found, FaultKind.WEAK, detail)


def _outcome_fault(outcome: OpensslOutcome, known: Mapping[bytes, PathLink]) -> Fault:
    culprit = known.get(outcome.culprit)
    return Fault(
        kind=outcome.kind,
        detail=outcome.detail,
        certificate=culprit.certificate.fingerprint if culprit else None,
    )


def _merged(found: Sequence[Fault], more: Iterable[Fault]) -> list[Fault]:
    """Return both, one fault for each kind and certificate: the first."""
    unique: dict[tuple[FaultKind, str | None], Fault] = {}
    for fault in (*found, *more):
        unique.setdefault((fault.kind, fault.certificate), fault)
    return list(unique.values())


def _der(found: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, found)
