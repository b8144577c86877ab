"""What is wrong with the members of a bundle, and on which TLS stacks that matters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec

from rollover.checks.configs.scene import issued
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.names import Fingerprint, short
from rollover.pki.anatomy import anatomy
from rollover.pki.bundle import BundleFindingKind, findings
from rollover.pki.pem import PemReading, RemarkKind

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


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a person should know. `fails`: somebody is refused because of it."""

    kind: str
    detail: str
    stacks: tuple[Stack, ...] = ()
    certificates: tuple[Fingerprint, ...] = ()
    fails: bool = False


def of_members(members: Sequence[Certificate], *, now: datetime) -> tuple[Remark, ...]:
    """Return what is wrong with the certificates of a bundle, whatever file they are in."""
    return (*_found(members, now), *_rootless(members), *_unreadable(members))


def of_file(reading: PemReading) -> Iterator[Remark]:
    """Yield what is wrong with the text of a bundle's file."""
    for each in reading.remarks:
        if each.kind is not RemarkKind.UNREADABLE_TO_GO:
            yield Remark(
                kind=each.kind,
                detail=f"line {each.line}: {each.detail}",
                stacks=each.stacks,
                fails=bool(each.stacks) or each.kind is RemarkKind.PRIVATE_KEY,
            )


def _found(members: Sequence[Certificate], now: datetime) -> Iterator[Remark]:
    for each in findings(members, instant=now):
        stacks = _STACKS.get(each.kind, ())
        yield Remark(
            kind=each.kind,
            detail=each.detail,
            stacks=stacks,
            certificates=each.certificates,
            fails=bool(stacks) and each.kind not in _HARMLESS,
        )


def _rootless(members: Sequence[Certificate]) -> Iterator[Remark]:
    """Yield intermediates whose root is not in the bundle: no anchor to OpenSSL by default."""
    named: dict[bytes, list[Certificate]] = {}
    for each in members:
        named.setdefault(anatomy(each).raw_subject, []).append(each)
    for each in members:
        if each.is_ca and not each.self_signed and not _reaches_root(each, named):
            yield Remark(
                kind=NO_ROOT,
                detail=f"`{each.subject}` ({short(each.fingerprint)}) is an intermediate, and its "
                f"root is not in the bundle: Go trusts it, OpenSSL only with "
                "`X509_V_FLAG_PARTIAL_CHAIN`",
                stacks=(Stack.OPENSSL,),
                certificates=(each.fingerprint,),
            )


def _reaches_root(member: Certificate, named: Mapping[bytes, list[Certificate]]) -> bool:
    seen = {member}
    waiting = [member]
    while waiting:
        current = waiting.pop()
        for parent in named.get(anatomy(current).raw_issuer, ()):
            if parent in seen or not issued(current, parent):
                continue
            if parent.self_signed:
                return True
            seen.add(parent)
            waiting.append(parent)
    return False


def _unreadable(members: Sequence[Certificate]) -> Iterator[Remark]:
    for each in members:
        refusal = anatomy(each).go_refusal
        if refusal:
            yield Remark(
                kind=UNREADABLE,
                detail=f"Go skips `{each.subject}` ({short(each.fingerprint)}): {refusal}",
                stacks=(Stack.GO,),
                certificates=(each.fingerprint,),
                fails=True,
            )
