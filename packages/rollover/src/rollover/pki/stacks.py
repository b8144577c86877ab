"""Answers whether a peer accepts a chain, by the rules of the TLS stack that the peer runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollover.errors import SpecError
from rollover.fleet.certificate import (
    Certificate,
    Fault,
    FaultKind,
    Question,
    Stack,
    Usage,
    Verdict,
)
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, short
from rollover.pki import go, openssl
from rollover.pki.certificate import Signed, check_signature
from rollover.pki.paths import PathLink, Pool, path_link

_NOTHING_PRESENTED = Verdict(
    (Fault(kind=FaultKind.NO_CERTIFICATE, detail="no certificate is presented"),)
)


class Verifier:
    """Answers questions about the certificates that it was made with; implements `Accepts`.

    Pure: what it keeps (signature checks, parsed forms, indexes of bundles) only saves work, so
    that asking again at another instant is cheap. `openssl_flags` says how OpenSSL peers verify.
    """

    def __init__(
        self,
        certificates: Mapping[Fingerprint, Certificate],
        *,
        openssl_flags: int = openssl.DEFAULT_FLAGS,
    ) -> None:
        self._certificates = certificates
        self._links: dict[Fingerprint, PathLink] = {}
        self._pools: dict[tuple[Fingerprint, ...], Pool] = {}
        self._signatures: dict[tuple[Fingerprint, Fingerprint], Signed] = {}
        self._openssl = openssl.OpensslStack(flags=openssl_flags)

    def __call__(self, question: Question) -> Verdict:
        """Return the verdict with every fault found; `SpecError` when a certificate is unknown."""
        if not question.chain:
            return _NOTHING_PRESENTED
        faults = self._faults(question)
        # Another anchor may have accepted it; only a refusal can be wrong for want of the roots.
        if faults and SYSTEM_ROOTS in question.bundle:
            faults = _with_unknown_roots(faults)
        return Verdict(tuple(faults))

    def _faults(self, question: Question) -> list[Fault]:
        chain = self._known(question.chain)
        pool = self._pool(question)
        if question.stack is Stack.GO:
            faults = go.faults(question, chain=chain, bundle=pool, check=self._check)
        else:
            anchors = self._known(question.bundle)
            faults = self._openssl.faults(question, chain=chain, bundle=anchors)
        if _offers_by_list(question):
            faults += go.offer_faults(chain, pool)
        return faults

    def _pool(self, question: Question) -> Pool:
        found = self._pools.get(question.bundle)
        if found is None:
            found = Pool(go.readable(self._known(question.bundle)))
            self._pools[question.bundle] = found
        return found

    def _known(self, fingerprints: Sequence[Fingerprint]) -> list[PathLink]:
        return [
            self._link(fingerprint) for fingerprint in fingerprints if fingerprint != SYSTEM_ROOTS
        ]

    def _link(self, fingerprint: Fingerprint) -> PathLink:
        found = self._links.get(fingerprint)
        if found is None:
            found = path_link(self._certificate(fingerprint))
            self._links[fingerprint] = found
        return found

    def _certificate(self, fingerprint: Fingerprint) -> Certificate:
        found = self._certificates.get(fingerprint)
        if found is None:
            raise SpecError(
                f"certificate `{short(fingerprint)}` is used, but not among the "
                f"{len(self._certificates)} known certificates",
                hint="add it to the fleet, or discover the fleet again",
            )
        return found

    def _check(self, child: PathLink, parent: PathLink) -> Signed:
        pair = (child.certificate.fingerprint, parent.certificate.fingerprint)
        found = self._signatures.get(pair)
        if found is None:
            found = check_signature(child.parts, by=parent.parts)
            self._signatures[pair] = found
        return found


def _offers_by_list(question: Question) -> bool:
    """Say whether a Go dialer chooses by a list that is known here.

    OpenSSL acceptors advertise what they are configured with, as a rule their bundle.
    """
    return (
        question.usage is Usage.CLIENT
        and question.presenter is Stack.GO
        and SYSTEM_ROOTS not in question.bundle
    )


def _with_unknown_roots(faults: list[Fault]) -> list[Fault]:
    if all(fault.kind is FaultKind.NAME for fault in faults):
        return faults
    unknown = Fault(
        kind=FaultKind.NO_PATH,
        detail="the bundle stands for the roots of the operating system, which are not known "
        "here, and no other anchor accepts the chain",
    )
    return [*(fault for fault in faults if fault.kind is not FaultKind.NO_PATH), unknown]
