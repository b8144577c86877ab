"""Who signs whom, proven by signatures, and whether chains validate by Go and by OpenSSL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rollover.certificates.inspect_findings import InspectedSource, InspectionDeadline
from rollover.fleet.certificate import (
    Certificate,
    Fault,
    FaultKind,
    Question,
    Stack,
    Usage,
)
from rollover.fleet.names import Fingerprint
from rollover.pki.certificate import Signed, anatomy, check_signature, subtrees
from rollover.pki.paths import EXTENDED_USAGES
from rollover.pki.stacks import Verifier

# Who signs whom: certificates as the rows of a tree, proven by their signatures.

MOST_CANDIDATES = 8
"""CAs of one name that are tried for one certificate."""
_SIGNED = (Signed.GOOD, Signed.WEAK)


class TreeRow(NamedTuple):
    """A certificate in its tree; `depth` 0 stands at the top."""

    certificate: Certificate
    depth: int


class _Index:
    """Certificates by their raw subject, and by that and their key identifier."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._named: dict[bytes, list[Certificate]] = {}
        self._identified: dict[tuple[bytes, str], list[Certificate]] = {}
        for certificate in certificates:
            subject = anatomy(certificate).raw_subject
            self._named.setdefault(subject, []).append(certificate)
            self._identified.setdefault((subject, certificate.subject_key_id), []).append(
                certificate
            )

    def candidates(self, child: Certificate) -> tuple[Certificate, ...]:
        """Return the few that most likely signed it: key identifiers only order them."""
        issuer = anatomy(child).raw_issuer_name
        fitting = self._identified.get((issuer, child.authority_key_id), ())
        named = self._named.get(issuer, ())
        likely = (*fitting[:MOST_CANDIDATES], *named[:MOST_CANDIDATES])
        others = (candidate for candidate in likely if candidate != child)
        return tuple(dict.fromkeys(others))[:MOST_CANDIDATES]


def signers(certificates: Iterable[Certificate]) -> Mapping[Fingerprint, Certificate]:
    """Return, for each certificate, the other one of these whose key signed it, if there is one."""
    unique = tuple(dict.fromkeys(certificates))
    index = _Index(unique)
    found: dict[Fingerprint, Certificate] = {}
    for certificate in unique:
        if certificate.self_signed:
            continue
        for candidate in index.candidates(certificate):
            if check_signature(anatomy(certificate), by=anatomy(candidate)) in _SIGNED:
                found[certificate.fingerprint] = candidate
                break
    return found


def rows_of_tree(
    certificates: Sequence[Certificate], signed_by: Mapping[Fingerprint, Certificate]
) -> tuple[TreeRow, ...]:
    """Return the certificates as trees, each once, signers before those that they signed.

    Only signers among `certificates` count. Authorities that signed each other in a circle begin
    at the first of them.
    """
    unique = tuple(dict.fromkeys(certificates))
    here = frozenset(unique)
    below: dict[Certificate, list[Certificate]] = {}
    tops: list[Certificate] = []
    for certificate in unique:
        signer = signed_by.get(certificate.fingerprint)
        if signer is None or signer not in here:
            tops.append(certificate)
        else:
            below.setdefault(signer, []).append(certificate)
    found: dict[Certificate, TreeRow] = {}
    # After the tops, what only a circle reaches: what is there already is passed over.
    for top in (*tops, *unique):
        _descend(top, below, found)
    return tuple(found.values())


def _descend(
    top: Certificate,
    below: Mapping[Certificate, Sequence[Certificate]],
    found: dict[Certificate, TreeRow],
) -> None:
    waiting = [TreeRow(top, 0)]
    while waiting:
        row = waiting.pop()
        if row.certificate in found:
            continue
        found[row.certificate] = row
        waiting += [
            TreeRow(certificate, row.depth + 1)
            for certificate in reversed(below.get(row.certificate, ()))
        ]


# Whether chains validate: by Go and by OpenSSL, for servers and for clients.

MOST_CHAINS = 200
"""Of one source; the rest is counted."""
MOST_INTERMEDIATES = 32
"""That may lie on the paths of one leaf; nobody serves as many."""
LONGEST_CHAIN = MOST_INTERMEDIATES + 1
MOST_NAMESAKES = 64
"""Anchors with a name that a chain asks for."""
MOST_COMPARISONS = 250_000
"""Of names with name constraints on one chain: as many as Go makes (verify.go)."""


class ChainVerdict(StrEnum):
    """What a stack says of a chain."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Nothing is wrong with it but that its issuer is not at hand."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One chain in one role, judged by one stack."""

    certificate: Fingerprint
    """The leaf."""
    usage: Usage
    stack: Stack
    answer: ChainVerdict
    expected_name: str = ""
    faults: tuple[Fault, ...] = ()


class TrustedRoots(NamedTuple):
    """Whom to believe. `given`: somebody named these anchors, so that no others count."""

    anchors: tuple[Certificate, ...]
    given: bool
    system: Callable[[], tuple[Certificate, ...]]
    """The roots of the operating system, read when nothing else accepts a chain."""


class Judged(NamedTuple):
    """The verdicts on the chains of a source, and how many chains were not judged."""

    judgements: tuple[Judgement, ...]
    left_out: int


def judge(
    source: InspectedSource, trust: TrustedRoots, *, now: datetime, deadline: InspectionDeadline
) -> Judged:
    """Return the verdicts on everything that the source presents, or could present.

    Chains beyond the limits, and what is left when the time is up, are counted.
    """
    chains = list(_chains(source))
    found: list[Judgement] = []
    left_out = 0
    for number, chain in enumerate(chains):
        judging = _ChainJudge(chain, trust, beside=source.trusts)
        if number >= MOST_CHAINS or deadline.over or judging.too_large:
            left_out += 1
            continue
        found += (_judgement(question, judging) for question in _questions(chain, source, now))
    return Judged(tuple(found), left_out)


def _chains(source: InspectedSource) -> Iterator[tuple[Certificate, ...]]:
    if source.chain:
        yield source.chain
        return
    # Of a pile of certificates nobody says what is presented: each leaf, with what may be above it.
    held = dict.fromkeys(found.certificate for found in source.certificates)
    by_subject: dict[bytes, list[Certificate]] = {}
    for certificate in held:
        if certificate.is_ca and not certificate.self_signed:
            by_subject.setdefault(anatomy(certificate).raw_subject, []).append(certificate)
    for certificate in held:
        if not certificate.is_ca and certificate not in source.trusts:
            yield (certificate, *_above(certificate, by_subject))


def _above(
    leaf: Certificate, by_subject: Mapping[bytes, Sequence[Certificate]]
) -> Sequence[Certificate]:
    """Return the intermediates that may lie on a path from the leaf: those of the right names."""
    found: dict[Certificate, None] = {}
    waiting = [leaf]
    while waiting and len(found) <= MOST_INTERMEDIATES:
        named = by_subject.get(anatomy(waiting.pop()).raw_issuer_name, ())[:LONGEST_CHAIN]
        new = [certificate for certificate in named if certificate not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return tuple(found)


def _usages(leaf: Certificate, source: InspectedSource) -> Sequence[Usage]:
    if source.usages:
        return source.usages
    allowed = leaf.extended_key_usages
    if not allowed or "any" in allowed:
        return tuple(Usage)
    return tuple(usage for usage in Usage if EXTENDED_USAGES[usage] in allowed)


def _questions(
    chain: tuple[Certificate, ...], source: InspectedSource, now: datetime
) -> Iterator[Question]:
    for usage in _usages(chain[0], source):
        for stack in source.stacks:
            yield Question(
                chain=tuple(certificate.fingerprint for certificate in chain),
                bundle=(),
                instant=now,
                usage=usage,
                stack=stack,
                name=source.expected_name if usage is Usage.SERVER else None,
            )


def _judgement(question: Question, judging: _ChainJudge) -> Judgement:
    faults = judging.faults(question)
    return Judgement(
        certificate=question.chain[0],
        usage=question.usage,
        stack=question.stack,
        answer=_answer(faults, given=judging.trust.given),
        expected_name=question.name or "",
        faults=faults,
    )


class _ChainJudge:
    """Answers questions on one chain: by the anchors at hand, then by the system's."""

    def __init__(
        self,
        chain: tuple[Certificate, ...],
        trust: TrustedRoots,
        *,
        beside: tuple[Certificate, ...],
    ) -> None:
        self.trust = trust
        self._chain = chain
        anchors = trust.anchors if trust.given else (*beside, *trust.anchors)
        self._own = _AnchoredChain(chain, anchors)
        self._system: _AnchoredChain | None = None

    @property
    def too_large(self) -> bool:
        """Whether so many certificates are in question that a verdict would take too long."""
        return len(self._chain) > LONGEST_CHAIN or self._own.anchors > MOST_NAMESAKES

    def faults(self, question: Question) -> tuple[Fault, ...]:
        """Return what is wrong, by the anchors that know an issuer of the chain."""
        faults = self._own.faults(question)
        if self.trust.given or not _lacks_path(faults):
            return faults
        if self._system is None:
            self._system = _AnchoredChain(self._chain, self.trust.system())
        by_system = self._system.faults(question)
        return faults if _lacks_path(by_system) else by_system


class _AnchoredChain:
    """One chain before one set of anchors; of these, the ones that can matter.

    Go and OpenSSL look for an issuer by its name, and for the certificate itself.
    """

    def __init__(self, chain: tuple[Certificate, ...], anchors: tuple[Certificate, ...]) -> None:
        issuers = {anatomy(certificate).raw_issuer_name for certificate in chain}
        fitting = tuple(
            anchor
            for anchor in dict.fromkeys(anchors)
            if anchor in chain or anatomy(anchor).raw_subject in issuers
        )
        self.anchors = len(fitting)
        self._bundle = tuple(certificate.fingerprint for certificate in fitting)
        self._too_many_names = _comparisons(chain, fitting) > MOST_COMPARISONS
        self._verifier = Verifier(
            {certificate.fingerprint: certificate for certificate in (*chain, *fitting)}
        )

    def faults(self, question: Question) -> tuple[Fault, ...]:
        if self._too_many_names:
            return (_TOO_MANY_NAMES,)
        return self._verifier(msgspec.structs.replace(question, bundle=self._bundle)).faults


def _lacks_path(faults: tuple[Fault, ...]) -> bool:
    return any(fault.kind is FaultKind.NO_PATH for fault in faults)


_TOO_MANY_NAMES = Fault(
    kind=FaultKind.CONSTRAINT,
    detail=f"more than {MOST_COMPARISONS:,} comparisons of names with name constraints",
)


def _comparisons(chain: Sequence[Certificate], anchors: Sequence[Certificate]) -> int:
    names = sum(
        len(certificate.names) + len(certificate.emails) + len(certificate.uris)
        for certificate in chain
    )
    limits = (anatomy(anchor).constraints for anchor in (*chain[1:], *anchors))
    return names * sum(len(subtrees(limit)) for limit in limits if limit is not None)


def _answer(faults: tuple[Fault, ...], *, given: bool) -> ChainVerdict:
    if not faults:
        return ChainVerdict.ACCEPTED
    if not given and all(fault.kind is FaultKind.NO_PATH for fault in faults):
        return ChainVerdict.UNKNOWN
    return ChainVerdict.REFUSED
