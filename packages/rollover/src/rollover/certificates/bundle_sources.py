"""What a bundle can be made of: files, directories, ports, manifests, and what is trusted today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.certificates.inspect_findings import (
    FoundCertificate,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    SourceKind,
    printable,
    read_file,
    walk,
)
from rollover.certificates.inspect_targets import (
    READING_LIMIT,
    STANDARD_INPUT,
    Ways,
    is_url,
    read_targets,
)
from rollover.codec import kubernetes
from rollover.codec.kubernetes import CERTIFICATE, KEY, ClusterObject
from rollover.codec.nats_configuration import CONTEXT_OF
from rollover.errors import PemError, RolloverError, SpecError, Unreachable
from rollover.fleet.certificate import Certificate
from rollover.fleet.fleet import Role
from rollover.pki.pem import read_certificates, split_blocks
from rollover.platforms.nats.rules.context import ConfigContext, UsedBlock


class BundleCandidate(NamedTuple):
    """A certificate and where it stands: `file:line`, a field of a manifest, a port."""

    certificate: Certificate
    place: str


class BundleCandidates(msgspec.Struct, frozen=True, kw_only=True):
    """What sources offer, in their order, and what a person should know about them."""

    candidates: tuple[BundleCandidate, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates, as often as they are offered."""
        return tuple(candidate.certificate for candidate in self.candidates)


def joined_candidates(several: Iterable[BundleCandidates]) -> BundleCandidates:
    """Return the candidates of several sources as one."""
    sources = tuple(several)
    return BundleCandidates(
        candidates=tuple(candidate for source in sources for candidate in source.candidates),
        notes=tuple(note for source in sources for note in source.notes),
    )


_MANIFESTS = (".yml", ".yaml", ".json")
_BINARY = (".der", ".cer", ".p7b", ".p7c")
_BEGIN = b"-----BEGIN "


def read_sources(targets: Iterable[str], ways: Ways) -> BundleCandidates:
    """Return what all sources offer, in their order.

    Of a configuration and a fleet file that is what its parties trust, of a port the CAs that it
    serves, of a Secret everything but `tls.crt`. Raises `SpecError`, `PemError` or `Unreachable`
    when something cannot be read: a bundle that lacks a CA would cut somebody off.
    """
    return joined_candidates(_from_target(target, ways) for target in targets)


def _from_target(target: str, ways: Ways) -> BundleCandidates:
    if target != STANDARD_INPUT and not is_url(target):
        path = Path(target)
        if path.is_dir():
            return _from_directory(path, ways)
        if path.suffix.lower() in _MANIFESTS:
            data = read_file(path)
            if kubernetes.looks_like_manifest(data):
                return _manifest(data, place=printable(str(path)))
    return _inspected(target, ways)


def _from_directory(directory: Path, ways: Ways) -> BundleCandidates:
    """Return what the files below a directory offer; those without certificates are passed over."""
    found = joined_candidates(_from_entries(directory, ways))
    if not found.candidates:
        raise SpecError(
            "no certificate in any of its files",
            place=printable(str(directory)),
            hint="name the files that hold CAs",
        )
    return found


def _from_entries(directory: Path, ways: Ways) -> Iterator[BundleCandidates]:
    deadline = InspectionDeadline(READING_LIMIT)
    for path in walk(directory):
        if isinstance(path, SpecError):
            raise path
        if deadline.over:
            raise SpecError(
                f"this and what follows was not read within {READING_LIMIT.total_seconds():.0f} s",
                place=printable(str(path)),
                hint="name the files that hold CAs",
            )
        yield from _among_others(path, ways)


def _among_others(path: Path, ways: Ways) -> Iterator[BundleCandidates]:
    """Yield what a file among many offers; unreadable ones matter by their names only."""
    suffix = path.suffix.lower()
    try:
        data = read_file(path)
    except SpecError as error:
        if suffix in (*_MANIFESTS, *_BINARY, ".pem", ".crt"):
            raise
        yield BundleCandidates(notes=(f"passed over: {error}",))
        return
    is_manifest = suffix in _MANIFESTS and kubernetes.looks_like_manifest(data)
    holds_certificates = _BEGIN in data and any(
        "CERTIFICATE" in block.label for block in split_blocks(data)
    )
    if is_manifest or suffix in _BINARY or holds_certificates:
        yield _from_target(str(path), ways)


def _manifest(data: bytes, *, place: str) -> BundleCandidates:
    objects = kubernetes.read_manifests(data, place=place)
    candidates = tuple(
        candidate
        for cluster_object in objects
        for candidate in _object(cluster_object, place=place)
    )
    if not candidates:
        raise SpecError(
            "no Secret or ConfigMap in it holds a CA",
            place=place,
            hint=f"of `{CERTIFICATE}` a party presents its own chain; CAs are in `ca.crt` and the "
            "like",
        )
    return BundleCandidates(candidates=candidates)


def _object(stored: ClusterObject, *, place: str) -> Iterator[BundleCandidate]:
    for key, value in stored.data.items():
        content = value.reveal()
        # `tls.crt` is what a party presents: its chain is nobody's bundle.
        if key in (CERTIFICATE, KEY) or _BEGIN + b"CERTIFICATE" not in content:
            continue
        where = f"{place}: {stored.ref}: {key}"
        for certificate in read_certificates(content, place=where).certificates:
            yield BundleCandidate(certificate, where)


def _inspected(target: str, ways: Ways) -> BundleCandidates:
    findings = tuple(read_targets((target,), ways))
    for finding in findings:
        if isinstance(finding, InspectionProblem):
            raise _error(finding, target)
    return joined_candidates(
        _of_source(finding) for finding in findings if isinstance(finding, InspectedSource)
    )


def _error(problem: InspectionProblem, target: str) -> RolloverError:
    """Return what was found as the error that it was made of."""
    if problem.transient:
        return Unreachable(
            problem.message, system="bundle", operation="read", hint=problem.hint or target
        )
    kind = PemError if problem.code == PemError.code else SpecError
    return kind(problem.message, hint=problem.hint)


def _of_source(found: InspectedSource) -> BundleCandidates:
    if found.kind in (SourceKind.NATS, SourceKind.FLEET):
        return _trusted(found)
    if found.kind is SourceKind.PORT:
        return _served(found)
    remarks = tuple(f"{found.name}: {remark}" for remark in found.remarks)
    return BundleCandidates(candidates=tuple(map(_candidate, found.certificates)), notes=remarks)


def _candidate(found: FoundCertificate) -> BundleCandidate:
    return BundleCandidate(found.certificate, found.place)


def _trusted(found: InspectedSource) -> BundleCandidates:
    places = {seen.certificate.fingerprint: seen.place for seen in found.certificates}
    candidates = (
        BundleCandidate(anchor, places.get(anchor.fingerprint, found.name))
        for anchor in found.trusts
    )
    note = () if found.trusts else (f"{found.name} trusts no CA of a file of its own",)
    return BundleCandidates(candidates=tuple(candidates), notes=note)


def _served(found: InspectedSource) -> BundleCandidates:
    """Return the CAs of a chain that a port serves; its leaf is nobody's trust anchor."""
    candidates = tuple(
        _candidate(served) for served in found.certificates if served.certificate.is_ca
    )
    if candidates:
        top = found.chain[-1]
        note = (
            ()
            if top.self_signed
            else (f"{found.name} does not serve the root `{top.issuer_name}`",)
        )
        return BundleCandidates(candidates=candidates, notes=note)
    leaf = found.chain[0]
    raise SpecError(
        f"it serves no CA, only `{leaf.subject}`",
        place=found.name,
        hint=f"get the certificate of its issuer `{leaf.issuer_name}` from whoever runs that CA",
    )


# What configurations trust today, as the beginning of a bundle.


def trusted_today(configs: ConfigContext, *, roles: Sequence[Role] = ()) -> BundleCandidates:
    """Return the CAs that the blocks of some configurations trust, in the order they are named.

    Exactly what nats-server loads of each `ca_file`. `roles`: of the blocks of such endpoints
    only; empty: of all. Raises `SpecError` for a file that cannot be read, and when there is no
    such block. Notes say which blocks trust the roots of the operating system, which no bundle can
    equal, and where blocks do not trust the same: for them the bundle is wider than today.
    """
    candidates: list[BundleCandidate] = []
    bundles: dict[frozenset[Certificate], UsedBlock] = {}
    notes: list[str] = []
    for used in _chosen(configs, roles):
        if used.block.ca_file is None:
            if used.block.demands_certificate or (
                used.block.context.dials and not used.block.insecure
            ):
                notes.append(f"{used.subject} trusts the roots of the operating system")
            continue
        found = _loaded(configs, used)
        bundles.setdefault(frozenset(found), used)
        candidates += (BundleCandidate(certificate, used.place("ca_file")) for certificate in found)
    if len(bundles) > 1:
        names = ", ".join(f"{bundle.subject}" for bundle in bundles.values())
        notes.append(
            f"not all blocks trust the same today, the bundle is wider for some ({names}): "
            "`--roles` takes those of some endpoints only"
        )
    return BundleCandidates(candidates=tuple(candidates), notes=tuple(notes))


def _chosen(configs: ConfigContext, roles: Sequence[Role]) -> tuple[UsedBlock, ...]:
    contexts = {CONTEXT_OF.get(role) for role in roles}
    found = tuple(used for used in configs.used if not roles or used.block.context in contexts)
    if roles and not found:
        there = {used.block.context for used in configs.used}
        others = [f"`{role}`" for role, context in CONTEXT_OF.items() if context in there]
        raise SpecError(
            f"no configuration has a `tls` block for {', '.join(f'`{role}`' for role in roles)}",
            hint=f"there are blocks of {', '.join(others) or 'nobody'}",
        )
    return found


def _loaded(configs: ConfigContext, used: UsedBlock) -> tuple[Certificate, ...]:
    facts = configs.facts(used.block.ca_file)
    if facts is None or facts.problem or not facts.loaded:
        path = used.block.ca_file.written if used.block.ca_file else ""
        reason = (facts.problem or facts.damage) if facts else "it was not read"
        raise SpecError(
            f"`{path}` cannot be used: {reason or 'no certificate in it'}",
            place=used.place("ca_file"),
            hint="correct the configuration first: `rollover check` says more",
        )
    return facts.loaded
