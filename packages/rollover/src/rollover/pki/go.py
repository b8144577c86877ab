"""The verdict of a Go peer: crypto/tls and crypto/x509 as nats-server and nats.go use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rollover.fleet.certificate import Fault, FaultKind, Question, Usage
from rollover.pki import paths
from rollover.pki.certificate import Signed
from rollover.pki.names import covers
from rollover.pki.paths import Path, PathLink, Pool

ADVERTISED_NAMES_LIMIT = 65_535 - 256
"""Octets of CA names that fit into a CertificateRequest.

Their list has a length of two octets, and in TLS 1.3 it shares another one with the other
extensions (under 256 octets in Go). Above it, *every* mutual handshake of the listener fails.
"""
MOST_CANDIDATES = 100
"""Paths among which the one is sought that comes nearest to being accepted."""

MOST_NAMESAKES = 20
"""Certificates of an issuer's name of which a refusal tells that they did not sign."""

NAME_PREFIX = 2
"""Octets of the length before each name on the list."""


def faults(
    question: Question, *, chain: Sequence[PathLink], bundle: Pool, check: paths.CheckSignature
) -> list[Fault]:
    """Return everything for which a Go peer refuses the chain; empty when it accepts it."""
    unreadable = list(_unreadable_faults(chain))
    if unreadable:
        return unreadable
    leaf = chain[0]
    search = paths.PathSearch(roots=bundle, intermediates=Pool(chain[1:]), check=check)
    found = [*paths.leaf_faults(leaf), *_name_faults(leaf, question.name)]
    if question.usage is Usage.CLIENT:
        found += _advertisement_faults(bundle)
    if not _has_path(question, leaf, search):
        found += _diagnosis(question, leaf, search, check)
    return found


def offer_faults(chain: Sequence[PathLink], bundle: Pool) -> Iterator[Fault]:
    """Yield why a Go dialer would send no certificate to an acceptor that trusts `bundle`.

    crypto/tls, CertificateRequestInfo.SupportsCertificate: some certificate of the chain must
    name, byte for byte, an advertised CA as its issuer. With nothing advertised, all is sent.
    """
    subjects = bundle.subjects()
    if subjects and not any(link.parts.raw_issuer_name in subjects for link in chain):
        yield paths.fault(
            chain[0],
            FaultKind.NOT_OFFERED,
            "a Go dialer sends no certificate: no issuer in its chain is among the CAs "
            "that the acceptor advertises "
            f"(issuer of the leaf: `{chain[0].certificate.issuer_name}`)",
        )


def readable(links: Sequence[PathLink]) -> list[PathLink]:
    """Return those that Go would load from a bundle; it skips the others without a word."""
    return [link for link in links if not link.parts.go_refusal]


def _unreadable_faults(chain: Sequence[PathLink]) -> Iterator[Fault]:
    for link in chain:
        if link.parts.go_refusal:
            detail = f"Go cannot read it: {link.parts.go_refusal}"
            yield paths.fault(link, FaultKind.MALFORMED, detail)


def _name_faults(leaf: PathLink, name: str | None) -> Iterator[Fault]:
    if name is None or covers(leaf.certificate.names, name):
        return
    given = ", ".join(f"`{known}`" for known in leaf.certificate.names)
    detail = f"valid for {given}" if given else "it has no subject alternative name to compare"
    yield paths.fault(leaf, FaultKind.NAME, f"`{name}` is expected, {detail}")


def _advertisement_faults(bundle: Pool) -> Iterator[Fault]:
    size = bundle.advertised_octets(prefix=NAME_PREFIX)
    if size > ADVERTISED_NAMES_LIMIT:
        yield Fault(
            kind=FaultKind.CONSTRAINT,
            detail=f"the CA names of the bundle take {size} octets, a TLS message holds "
            f"{ADVERTISED_NAMES_LIMIT}: every mutual handshake of this listener fails",
        )


def _has_path(question: Question, leaf: PathLink, search: paths.PathSearch) -> bool:
    if next(paths.time_faults(leaf, question.instant), None) is not None:
        return False
    return any(
        next(paths.usage_faults(path, question.usage), None) is None
        for path in search.strict(leaf, instant=question.instant)
    )


def _diagnosis(
    question: Question, leaf: PathLink, search: paths.PathSearch, check: paths.CheckSignature
) -> list[Fault]:
    """Return what is wrong with the path that comes nearest to being accepted."""

    def wrong(path: Path) -> list[Fault]:
        return paths.path_faults(path, usage=question.usage, instant=question.instant, check=check)

    candidates = [wrong(path) for path in islice(search.lenient(leaf), MOST_CANDIDATES)]
    if not candidates:
        return [*wrong((leaf,)), *_dead_end_faults(leaf, search, check)]
    return min(candidates, key=len) or [_gave_up(leaf)]


def _dead_end_faults(
    leaf: PathLink, search: paths.PathSearch, check: paths.CheckSignature
) -> Iterator[Fault]:
    end = search.dead_end(leaf)
    if end is None:
        yield _gave_up(leaf)
        return
    lacking = "no certificate at hand issued it"
    for parent in islice(search.named_parents(end), MOST_NAMESAKES):
        signed = check(end, parent)
        if signed in (Signed.GOOD, Signed.WEAK):
            # A path never takes the same key and name twice (alreadyInChain of verify.go).
            lacking = "who issued it is below it in the chain already"
        else:
            detail = _signature_detail(signed, parent)
            yield paths.fault(end, FaultKind.SIGNATURE, detail)
    detail = f"{lacking} (issuer: `{end.certificate.issuer_name}`)"
    yield paths.fault(end, FaultKind.NO_PATH, detail)


def _signature_detail(signed: Signed, parent: PathLink) -> str:
    key = parent.certificate.key_identity[:12]
    if signed is Signed.UNKNOWN:
        return f"its signature cannot be checked with the key {key} of its issuer"
    return f"the CA of its issuer's name has another key ({key}), which did not sign it"


def _gave_up(leaf: PathLink) -> Fault:
    detail = (
        f"Go gives up after {paths.SIGNATURE_CHECK_LIMIT} signature checks: "
        "too many CAs have the same name, or the chain is too long"
    )
    return paths.fault(leaf, FaultKind.CONSTRAINT, detail)
