"""Makes and changes bundles: order kept, each CA once, nothing in it that is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec

from rollover.certificates.bundle_sources import BundleCandidate, BundleCandidates
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.names import Fingerprint, short
from rollover.pki.bundle import BundleFindingKind, findings
from rollover.pki.certificate import anatomy
from rollover.pki.pem import PemReading, RemarkKind
from rollover.platforms.nats.rules.context import issued

# What is wrong with the members of a bundle, and on which TLS stacks that matters.

BOTH = (Stack.GO, Stack.OPENSSL)
NO_ROOT = "intermediate-without-root"
UNREADABLE = "unreadable-to-go"

_STACKS: Mapping[str, tuple[Stack, ...]] = MappingProxyType(
    {
        BundleFindingKind.NOT_A_CA: BOTH,
        BundleFindingKind.AMBIGUOUS_SUBJECT: (Stack.OPENSSL,),
        BundleFindingKind.TOO_MANY_NAMES: BOTH,
        BundleFindingKind.EXPIRED: BOTH,
        BundleFindingKind.NOT_YET_VALID: BOTH,
    }
)
"""Where chains to what is found fail; nowhere for what is not named here."""
_HARMLESS = (BundleFindingKind.EXPIRED, BundleFindingKind.NOT_YET_VALID)
"""Members that nobody accepts: useless, but the others work."""


class BundleRemark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a person should know. `fails`: somebody is refused because of it."""

    kind: str
    detail: str
    stacks: tuple[Stack, ...] = ()
    certificates: tuple[Fingerprint, ...] = ()
    fails: bool = False


def remarks_on_members(
    members: Sequence[Certificate], *, now: datetime
) -> tuple[BundleRemark, ...]:
    """Return what is wrong with the certificates of a bundle, whatever file they are in."""
    return (*_found(members, now), *_rootless(members), *_unreadable(members))


def remarks_on_file(reading: PemReading) -> Iterator[BundleRemark]:
    """Yield what is wrong with the text of a bundle's file."""
    for remark in reading.remarks:
        if remark.kind is not RemarkKind.UNREADABLE_TO_GO:
            yield BundleRemark(
                kind=remark.kind,
                detail=f"line {remark.line}: {remark.detail}",
                stacks=remark.stacks,
                fails=bool(remark.stacks) or remark.kind is RemarkKind.PRIVATE_KEY,
            )


def _found(members: Sequence[Certificate], now: datetime) -> Iterator[BundleRemark]:
    for finding in findings(members, instant=now):
        stacks = _STACKS.get(finding.kind, ())
        yield BundleRemark(
            kind=finding.kind,
            detail=finding.detail,
            stacks=stacks,
            certificates=finding.certificates,
            fails=bool(stacks) and finding.kind not in _HARMLESS,
        )


def _rootless(members: Sequence[Certificate]) -> Iterator[BundleRemark]:
    """Yield intermediates whose root is not in the bundle: no anchor to OpenSSL by default."""
    named: dict[bytes, list[Certificate]] = {}
    for member in members:
        named.setdefault(anatomy(member).raw_subject, []).append(member)
    for member in members:
        if member.is_ca and not member.self_signed and not _reaches_root(member, named):
            yield BundleRemark(
                kind=NO_ROOT,
                detail=f"`{member.subject}` ({short(member.fingerprint)}) is an intermediate, and "
                f"its root is not in the bundle: Go trusts it, OpenSSL only with "
                "`X509_V_FLAG_PARTIAL_CHAIN`",
                stacks=(Stack.OPENSSL,),
                certificates=(member.fingerprint,),
            )


def _reaches_root(member: Certificate, named: Mapping[bytes, list[Certificate]]) -> bool:
    seen = {member}
    waiting = [member]
    while waiting:
        current = waiting.pop()
        for parent in named.get(anatomy(current).raw_issuer_name, ()):
            # CAs may have signed each other, in a circle that would never end.
            if parent in seen or not issued(current, parent):
                continue
            if parent.self_signed:
                return True
            seen.add(parent)
            waiting.append(parent)
    return False


def _unreadable(members: Sequence[Certificate]) -> Iterator[BundleRemark]:
    for member in members:
        refusal = anatomy(member).go_refusal
        if refusal:
            yield BundleRemark(
                kind=UNREADABLE,
                detail=f"Go skips `{member.subject}` ({short(member.fingerprint)}): {refusal}",
                stacks=(Stack.GO,),
                certificates=(member.fingerprint,),
                fails=True,
            )


MOST_TOLD = 5


class BundleMember(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of a bundle, where it was found first, and where again."""

    certificate: Certificate
    place: str
    again: tuple[str, ...] = ()
    wider: bool = False
    """It was asked for beyond what is trusted today."""


class BuiltBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle, what was left out of it, and what a person should know about it."""

    members: tuple[BundleMember, ...]
    dropped: tuple[BundleMember, ...] = ()
    remarks: tuple[BundleRemark, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Its certificates, in order."""
        return tuple(member.certificate for member in self.members)


def build(
    candidates: BundleCandidates,
    *,
    now: datetime,
    wider: BundleCandidates | None = None,
    drop_expired: bool = False,
) -> BuiltBundle:
    """Return the bundle of these candidates, in their order, then of `wider`.

    Members that are expired or not yet valid are named, and left out with `drop_expired` only: an
    OpenSSL peer that verifies by time of signing, or a clock that is wrong, may still need them.
    Raises `PemError` for candidates that are no CA, and when nothing is left.
    """
    more = wider or BundleCandidates()
    _check_authorities((*candidates.candidates, *more.candidates))
    members = _members((*candidates.candidates, *more.candidates))
    today = set(candidates.certificates)
    members = tuple(
        msgspec.structs.replace(member, wider=member.certificate not in today) for member in members
    )
    kept = tuple(
        member
        for member in members
        if not drop_expired or member.certificate.not_before <= now <= member.certificate.not_after
    )
    if not kept:
        raise PemError(
            "no CA is left for the bundle" if members else "there is no CA in any source",
            hint="name a source that holds a CA which is valid now",
        )
    return BuiltBundle(
        members=kept,
        dropped=tuple(member for member in members if member not in kept),
        remarks=remarks_on_members(tuple(member.certificate for member in kept), now=now),
        notes=(*candidates.notes, *more.notes),
    )


def _members(candidates: Iterable[BundleCandidate]) -> tuple[BundleMember, ...]:
    places: dict[Certificate, list[str]] = {}
    for candidate in candidates:
        places.setdefault(candidate.certificate, []).append(candidate.place)
    return tuple(
        BundleMember(certificate=certificate, place=found[0], again=tuple(found[1:]))
        for certificate, found in places.items()
    )


def _check_authorities(candidates: Sequence[BundleCandidate]) -> None:
    wrong = [candidate for candidate in candidates if not candidate.certificate.is_ca]
    if not wrong:
        return
    told = "; ".join(
        f"{place}: `{certificate.subject}` ({short(certificate.fingerprint)}) is no CA"
        for certificate, place in wrong[:MOST_TOLD]
    )
    more = f" and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
    issuers = dict.fromkeys(certificate.issuer_name for certificate, _ in wrong[:MOST_TOLD])
    raise PemError(
        f"{told}{more}",
        hint=f"a bundle holds CAs: take the certificate of the issuer instead "
        f"({', '.join(f'`{issuer}`' for issuer in issuers)})",
    )


# Bundles that are changed a little: CAs put in, CAs taken out.

LEAST_DIGITS = 8
MOST_NAMED = 10
_DIGITS = re.compile(r"[0-9a-f]{8,64}")


def extended(
    present: Sequence[Certificate], more: BundleCandidates, *, place: str
) -> BundleCandidates:
    """Return what stands in a bundle's file, then what is put in."""
    here = tuple(BundleCandidate(certificate, place) for certificate in present)
    return BundleCandidates(candidates=(*here, *more.candidates), notes=more.notes)


def without(
    present: Sequence[Certificate], selectors: Iterable[str], *, place: str
) -> tuple[Certificate, ...]:
    """Return a bundle without the members that are named by fingerprint or subject.

    A fingerprint is at least eight digits of SHA-256, colons allowed; a subject the whole of it,
    or its common name. `SpecError` for what names none, or several by digits; `PemError` when
    nothing would be left.
    """
    gone: set[Certificate] = set()
    for selector in selectors:
        gone.update(_selected(present, selector, place=place))
    left = tuple(certificate for certificate in present if certificate not in gone)
    if not left:
        raise PemError(
            "no CA would be left, and nobody would be trusted",
            place=place,
            hint="put the new CA in first: `rollover bundle add`",
        )
    return left


def _selected(
    present: Sequence[Certificate], selector: str, *, place: str
) -> tuple[Certificate, ...]:
    digits = selector.replace(":", "").lower()
    found = tuple(certificate for certificate in present if selector in _names(certificate))
    if not found and _DIGITS.fullmatch(digits):
        found = tuple(
            certificate for certificate in present if certificate.fingerprint.startswith(digits)
        )
        if len(found) > 1:
            raise SpecError(
                f"`{selector}` is the beginning of {len(found)} fingerprints",
                place=place,
                hint="give more digits",
            )
    if not found:
        known = ", ".join(
            f"{short(certificate.fingerprint)} `{certificate.subject}`"
            for certificate in present[:MOST_NAMED]
        )
        raise SpecError(
            f"`{selector}` is not in it",
            place=place,
            hint=f"give {LEAST_DIGITS} digits of a fingerprint, or a subject, of: {known}",
        )
    return found


def _names(certificate: Certificate) -> Iterator[str]:
    yield certificate.subject
    # A comma within a value is escaped in the string form of a name (RFC 4514 §2.4).
    for part in re.split(r"(?<!\\),", certificate.subject):
        if part.startswith("CN="):
            yield part.removeprefix("CN=")
