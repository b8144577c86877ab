"""What `inspect` reports: every source with its certificates as a tree, keys and verdicts."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec

from rollover.certificates import inspect_verdicts
from rollover.certificates.inspect_findings import (
    FoundKey,
    Inspected,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    LivePort,
    SourceKind,
    read_file,
)
from rollover.certificates.inspect_verdicts import ChainVerdict, Judgement, TrustedRoots, judge
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.bundle import findings
from rollover.pki.certificate import anatomy
from rollover.pki.pem import loaded_by_go

JUDGING_LIMIT = timedelta(seconds=30)
"""Of all chains together: what is not judged by then is counted."""
_DAY = timedelta(days=1)
# Debian and Alpine, Fedora, macOS and the BSDs: where OpenSSL is built to look elsewhere.
_ROOT_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, with what people look for. Never a key."""

    subject: str
    issuer: str
    depth: int
    """In the tree of its source: 0 at the top."""
    signed_by: Fingerprint | None
    """Whose key signed it, among everything that was inspected; itself for a root."""
    places: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    days_left: int
    """Whole days until it ends; negative when it has ended."""
    is_ca: bool
    self_signed: bool
    key_usages: tuple[str, ...] | None
    extended_key_usages: tuple[str, ...] | None
    key: str
    key_places: tuple[str, ...]
    """Where its private key was found."""
    signature: str
    serial: str
    """Hexadecimal."""
    subject_key_id: str
    authority_key_id: str
    fingerprint: Fingerprint
    spki_sha256: str
    """The pin of its key, as `pinned_certs` of nats-server takes it."""
    not_understood: tuple[str, ...] = ()
    """Critical extensions that Go does not understand: it refuses every chain with it."""
    damage: str = ""
    """Why its extensions cannot be read, or Go cannot read all of it."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A private key that was found, and whose it is."""

    place: str
    kind: str
    belongs_to: tuple[Fingerprint, ...]
    problem: str = ""


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """One file, block, object or port."""

    name: str
    kind: SourceKind
    certificates: tuple[CertificateView, ...]
    keys: tuple[KeyView, ...]
    chains: tuple[Judgement, ...]
    chains_not_judged: int
    remarks: tuple[str, ...]
    live: LivePort | None = None


class InspectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found."""

    at: datetime
    sources: tuple[SourceView, ...]
    problems: tuple[InspectionProblem, ...]

    @property
    def refused(self) -> bool:
        """Whether a stack refuses a chain for a use that it is meant for."""
        return any(
            chain.answer is ChainVerdict.REFUSED
            for source in self.sources
            for chain in source.chains
        )

    @property
    def incomplete(self) -> bool:
        """Whether a port did not answer, or chains were not judged."""
        unseen = any(source.chains_not_judged for source in self.sources)
        return unseen or any(problem.transient for problem in self.problems)


def report_on(
    found: Iterable[Inspected], *, trusted: tuple[Certificate, ...] = (), now: datetime
) -> InspectionReport:
    """Return what was found with its verdicts.

    Anchors are `trusted`, if given; otherwise the self-signed CAs of everything inspected but
    live ports, the bundle that stands beside a chain, and the roots of the operating system.
    """
    everything = tuple(found)
    sources = tuple(source for source in everything if isinstance(source, InspectedSource))
    inspected = _Sources(sources, now=now)
    trust = TrustedRoots(
        trusted or inspected.roots(), given=bool(trusted), system=cache(system_roots)
    )
    return InspectionReport(
        at=now,
        sources=tuple(inspected.view(source, trust) for source in sources),
        problems=tuple(found for found in everything if isinstance(found, InspectionProblem)),
    )


def certificates_of(found: Iterable[Inspected]) -> tuple[Certificate, ...]:
    """Return every certificate once, in the order in which they were found."""
    return tuple(
        dict.fromkeys(
            held.certificate
            for source in found
            if isinstance(source, InspectedSource)
            for held in source.certificates
        )
    )


def system_roots() -> tuple[Certificate, ...]:
    """Return the roots of the operating system, none when they are not where they usually are."""
    usual = ssl.get_default_verify_paths().cafile
    for path in (usual, *_ROOT_FILES) if usual else _ROOT_FILES:
        try:
            return loaded_by_go(read_file(Path(path)))
        except (SpecError, PemError):
            continue
    return ()


class _Sources:
    """All sources together: a key or a signer may stand in another one."""

    def __init__(self, sources: Sequence[InspectedSource], *, now: datetime) -> None:
        self._now = now
        self._deadline = InspectionDeadline(JUDGING_LIMIT)
        self._sources = sources
        everything = certificates_of(sources)
        self._signers = inspect_verdicts.signers(everything)
        self._by_key: dict[str, list[Fingerprint]] = {}
        for certificate in everything:
            self._by_key.setdefault(certificate.key_identity, []).append(certificate.fingerprint)
        self._key_places = _places_of_keys(sources)

    def roots(self) -> tuple[Certificate, ...]:
        """Return the self-signed CAs of everything that was not served by a port."""
        kept = [source for source in self._sources if source.kind is not SourceKind.PORT]
        return tuple(
            certificate
            for certificate in certificates_of(kept)
            if certificate.is_ca and certificate.self_signed
        )

    def view(self, source: InspectedSource, trust: TrustedRoots) -> SourceView:
        """Return a source as it is shown."""
        held = certificates_of((source,))
        places: dict[Certificate, list[str]] = {}
        for found in source.certificates:
            places.setdefault(found.certificate, []).append(found.place)
        judged = judge(source, trust, now=self._now, deadline=self._deadline)
        is_bundle = bool(held) and all(certificate.is_ca for certificate in held)
        on_bundle = findings(held, instant=self._now) if is_bundle else ()
        return SourceView(
            name=source.name,
            kind=source.kind,
            certificates=tuple(
                self._certificate(row, tuple(dict.fromkeys(places[row.certificate])))
                for row in inspect_verdicts.rows_of_tree(held, self._signers)
            ),
            keys=tuple(self._key(key) for key in source.keys),
            chains=judged.judgements,
            chains_not_judged=judged.left_out,
            remarks=(*source.remarks, *(finding.detail for finding in on_bundle)),
            live=source.live,
        )

    def _key(self, found: FoundKey) -> KeyView:
        return KeyView(
            place=found.place,
            kind=found.kind,
            belongs_to=tuple(self._by_key.get(found.key_identity, ())),
            problem=found.problem,
        )

    def _certificate(
        self, row: inspect_verdicts.TreeRow, places: tuple[str, ...]
    ) -> CertificateView:
        certificate, parts = row.certificate, anatomy(row.certificate)
        signer = (
            certificate if certificate.self_signed else self._signers.get(certificate.fingerprint)
        )
        return CertificateView(
            subject=certificate.subject,
            issuer=certificate.issuer_name,
            depth=row.depth,
            signed_by=signer.fingerprint if signer else None,
            places=places,
            dns_names=certificate.dns_names,
            ip_addresses=certificate.ip_addresses,
            emails=certificate.emails,
            uris=certificate.uris,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            days_left=(certificate.not_after - self._now) // _DAY,
            is_ca=certificate.is_ca,
            self_signed=certificate.self_signed,
            key_usages=certificate.key_usages,
            extended_key_usages=certificate.extended_key_usages,
            key=certificate.key,
            key_places=self._key_places.get(certificate.key_identity, ()),
            signature=certificate.signature,
            serial=f"{certificate.serial:x}",
            subject_key_id=certificate.subject_key_id,
            authority_key_id=certificate.authority_key_id,
            fingerprint=certificate.fingerprint,
            spki_sha256=certificate.key_identity,
            not_understood=parts.unhandled,
            damage=parts.damage or parts.go_refusal,
        )


def _places_of_keys(sources: Sequence[InspectedSource]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for source in sources:
        for key in source.keys:
            if key.key_identity:
                found[key.key_identity] = (*found.get(key.key_identity, ()), key.place)
    return found
