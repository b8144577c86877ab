"""Path building and validation as Go's crypto/x509 does it (verify.go of Go 1.25 and later)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from rollover.fleet.certificate import Certificate, Fault, FaultKind, Usage
from rollover.pki.certificate import Anatomy, Signed, anatomy
from rollover.pki.names import labels

SIGNATURE_CHECK_LIMIT = 100
"""verify.go, maxChainSignatureChecks: Go gives up when building one chain takes more."""

DIAGNOSIS_CHECK_LIMIT = 1000
"""Signature checks of the search for the reason of a refusal."""

CANDIDATE_LIMIT = 50_000
"""Certificates of a fitting name that one search looks at; Go has no limit and would be slow."""

EXTENDED_USAGES = {Usage.SERVER: "server_auth", Usage.CLIENT: "client_auth"}
LARGEST_RSA_BITS = 8192
"""crypto/tls, maxRSAKeySize (CVE-2023-29409)."""


class PathLink(NamedTuple):
    """A certificate on a path: what everybody sees of it, and its parts."""

    certificate: Certificate
    parts: Anatomy


Path = tuple[PathLink, ...]
"""From the leaf up to the anchor."""

CheckSignature = Callable[[PathLink, PathLink], Signed]
"""Says whether the second one's key signed the first; memoised by whoever gives it."""


def path_link(certificate: Certificate) -> PathLink:
    """Return a certificate with its parts."""
    return PathLink(certificate, anatomy(certificate))


class Pool:
    """Certificates by their raw subject, those whose key identifier fits first (cert_pool.go)."""

    def __init__(self, links: Sequence[PathLink]) -> None:
        self._by_subject: dict[bytes, list[PathLink]] = {}
        self._by_key_id: dict[tuple[bytes, str], list[PathLink]] = {}
        self._fingerprints = frozenset(found.certificate.fingerprint for found in links)
        for found in dict.fromkeys(links):
            subject, key_id = found.parts.raw_subject, found.certificate.subject_key_id
            self._by_subject.setdefault(subject, []).append(found)
            self._by_key_id.setdefault((subject, key_id), []).append(found)

    def __contains__(self, found: PathLink) -> bool:
        return found.certificate.fingerprint in self._fingerprints

    def subjects(self) -> frozenset[bytes]:
        """Return the raw subjects: what an acceptor advertises."""
        return frozenset(self._by_subject)

    def advertised_octets(self, *, prefix: int) -> int:
        """Return the size of the list of its names: one entry for each certificate."""
        return sum(
            (len(subject) + prefix) * len(found) for subject, found in self._by_subject.items()
        )

    def parents(self, child: PathLink) -> Iterator[PathLink]:
        """Yield the candidates for the issuer of `child`; key identifiers only order them.

        Those that have the one which `child` names come first, then those that have none.
        """
        subject, wanted = child.parts.raw_issuer_name, child.certificate.authority_key_id
        found = self._by_subject.get(subject, ())
        if not wanted:
            yield from found
            return
        yield from self._by_key_id.get((subject, wanted), ())
        yield from self._by_key_id.get((subject, ""), ())
        yield from (
            parent for parent in found if parent.certificate.subject_key_id not in ("", wanted)
        )


class PathSearch:
    """Builds paths from a leaf over what it was served with to an anchor."""

    def __init__(self, *, roots: Pool, intermediates: Pool, check: CheckSignature) -> None:
        self._roots = roots
        self._intermediates = intermediates
        self._check = check

    def strict(self, leaf: PathLink, *, instant: datetime) -> Iterator[Path]:
        """Yield the paths that Go would build, in its order and within its limit."""
        if leaf in self._roots:
            yield (leaf,)
            return
        yield from self._grow(leaf, _Strict(instant, SIGNATURE_CHECK_LIMIT))

    def lenient(self, leaf: PathLink) -> Iterator[Path]:
        """Yield every path whose signatures can be right, whatever else is wrong with it."""
        if leaf in self._roots:
            yield (leaf,)
            return
        yield from self._grow(leaf, _Lenient(DIAGNOSIS_CHECK_LIMIT))

    def named_parents(self, child: PathLink) -> Iterator[PathLink]:
        """Yield every certificate at hand that has the subject which `child` names as issuer."""
        yield from self._roots.parents(child)
        yield from self._intermediates.parents(child)

    def dead_end(self, leaf: PathLink) -> PathLink | None:
        """Return the last certificate upwards from `leaf` whose issuer is not at hand.

        None when that is farther away than anybody looks.
        """
        path: Path = (leaf,)
        rules = _Lenient(DIAGNOSIS_CHECK_LIMIT)
        while len(path) <= SIGNATURE_CHECK_LIMIT:
            parents = self._intermediates.parents(path[-1])
            following = next(self._issuers(path, parents, rules), None)
            if following is None:
                return None if rules.spent else path[-1]
            path = (*path, following)
        return None

    def _grow(self, leaf: PathLink, rules: _Strict | _Lenient) -> Iterator[Path]:
        """Yield paths depth first; without recursion, for whoever serves a chain says how long.

        A path takes one signature check for each issuer, so Go accepts none that is longer.
        """
        branches = [self._longer((leaf,), rules)]
        while branches:
            found = next(branches[-1], None)
            if found is None:
                branches.pop()
            elif found.anchored:
                yield found.path
            elif len(found.path) <= SIGNATURE_CHECK_LIMIT:
                branches.append(self._longer(found.path, rules))

    def _longer(self, path: Path, rules: _Strict | _Lenient) -> Iterator[_Longer]:
        for pool, anchored in ((self._roots, True), (self._intermediates, False)):
            for parent in self._issuers(path, pool.parents(path[-1]), rules):
                if rules.permits(path, parent, anchor=anchored):
                    yield _Longer((*path, parent), anchored)

    def _issuers(
        self, path: Path, parents: Iterable[PathLink], rules: _Strict | _Lenient
    ) -> Iterator[PathLink]:
        for parent in parents:
            if not rules.may_look():
                return
            if any(_same_entity(parent, earlier) for earlier in path):
                continue
            if not rules.may_check():
                return
            if self._check(path[-1], parent) in rules.signatures:
                yield parent


class _Longer(NamedTuple):
    """A path that grew by one certificate, and whether that is an anchor."""

    path: Path
    anchored: bool


class _Budget:
    """How many candidates may be looked at, and how many signatures checked."""

    def __init__(self, checks: int) -> None:
        self._candidates = CANDIDATE_LIMIT
        self._checks = checks

    @property
    def spent(self) -> bool:
        """Whether more was wanted than there was."""
        return self._candidates < 0 or self._checks < 0

    def may_look(self) -> bool:
        self._candidates -= 1
        return not self.spent

    def may_check(self) -> bool:
        self._checks -= 1
        return not self.spent


class _Strict(_Budget):
    """Go's rules while it builds: a candidate that breaks one is no part of any path."""

    signatures = frozenset({Signed.GOOD})

    def __init__(self, instant: datetime, checks: int) -> None:
        super().__init__(checks)
        self._instant = instant

    def permits(self, path: Path, parent: PathLink, *, anchor: bool) -> bool:
        found = next(time_faults(parent, self._instant), None)
        return found is None and next(issuer_faults(path, parent, anchor=anchor), None) is None


class _Lenient(_Budget):
    """No rules but the signatures: to find out what is wrong with a path."""

    signatures = frozenset({Signed.GOOD, Signed.WEAK})

    def permits(self, path: Path, parent: PathLink, *, anchor: bool) -> bool:
        del path, parent, anchor
        return True


def _same_entity(one: PathLink, other: PathLink) -> bool:
    """Say whether Go takes both for the same (alreadyInChain): subject, key and SAN."""
    return (
        one.parts.raw_subject == other.parts.raw_subject
        and one.parts.spki == other.parts.spki
        and one.parts.raw_san == other.parts.raw_san
    )


def leaf_faults(leaf: PathLink) -> Iterator[Fault]:
    """Yield what is wrong with a leaf before any path is looked for, its dates aside."""
    yield from _unhandled_faults(leaf)
    bits = leaf.certificate.key.removeprefix("rsa-")
    if bits.isdecimal() and int(bits) > LARGEST_RSA_BITS:
        yield fault(leaf, FaultKind.WEAK, f"its RSA key has more than {LARGEST_RSA_BITS} bits")


def time_faults(found: PathLink, instant: datetime) -> Iterator[Fault]:
    """Yield whether the certificate is expired or not yet valid at `instant`."""
    if instant < found.parts.not_before:
        detail = f"not valid before {found.parts.not_before:%Y-%m-%d %H:%M:%SZ}"
        yield fault(found, FaultKind.NOT_YET_VALID, detail)
    if instant > found.parts.not_after:
        detail = f"expired on {found.parts.not_after:%Y-%m-%d %H:%M:%SZ}"
        yield fault(found, FaultKind.EXPIRED, detail)


def issuer_faults(path: Path, parent: PathLink, *, anchor: bool) -> Iterator[Fault]:
    """Yield why `parent` may not issue the last certificate of `path`; its dates aside.

    CheckSignatureFrom and isValid of verify.go: basic constraints, key usage where present,
    critical extensions, path length, name constraints on every SAN below.
    """
    certificate, parts = parent
    if parts.has_basic_constraints and not certificate.is_ca:
        yield fault(parent, FaultKind.CONSTRAINT, "it issues, but is no CA")
    elif not parts.has_basic_constraints and (not anchor or parts.version == 3):  # noqa: PLR2004 - X.509 version 3
        yield fault(parent, FaultKind.CONSTRAINT, "it issues, but lacks basic constraints")
    if certificate.key_usages and "key_cert_sign" not in certificate.key_usages:
        yield fault(parent, FaultKind.CONSTRAINT, "its key usage lacks `key_cert_sign`")
    yield from _unhandled_faults(parent)
    if parts.path_length is not None and len(path) - 1 > parts.path_length:
        detail = f"{len(path) - 1} CAs below it, its path length allows {parts.path_length}"
        yield fault(parent, FaultKind.CONSTRAINT, detail)
    for sentence in violations(parts, (below.certificate for below in path)):
        yield fault(parent, FaultKind.CONSTRAINT, sentence)


def usage_faults(path: Path, usage: Usage) -> Iterator[Fault]:
    """Yield the certificates whose extended key usage forbids the role, anchor included."""
    wanted = EXTENDED_USAGES[usage]
    for found in path:
        given = found.certificate.extended_key_usages
        if given and wanted not in given and "any" not in given:
            detail = f"its extended key usage is {', '.join(given)}, `{wanted}` is needed"
            yield fault(found, FaultKind.USAGE, detail)


def path_faults(
    path: Path, *, usage: Usage, instant: datetime, check: CheckSignature
) -> list[Fault]:
    """Return everything that is wrong with one path, the leaf's own faults aside."""
    faults: list[Fault] = []
    for depth, found in enumerate(path):
        faults += time_faults(found, instant)
        if depth:
            anchor = depth == len(path) - 1
            faults += issuer_faults(path[:depth], found, anchor=anchor)
            faults += _signature_faults(path[depth - 1], found, check)
    return faults + list(usage_faults(path, usage))


def _signature_faults(child: PathLink, parent: PathLink, check: CheckSignature) -> Iterator[Fault]:
    if check(child, parent) is Signed.WEAK:
        detail = (
            f"its signature ({child.certificate.signature} by {parent.certificate.key}) is too weak"
        )
        yield fault(child, FaultKind.WEAK, detail)


def _unhandled_faults(found: PathLink) -> Iterator[Fault]:
    for oid in found.parts.unhandled:
        detail = f"its critical extension {oid} is not understood"
        yield fault(found, FaultKind.CONSTRAINT, detail)


def fault(found: PathLink, kind: FaultKind, detail: str) -> Fault:
    """Return a fault that lies in a certificate of the path."""
    return Fault(kind=kind, detail=detail, certificate=found.certificate.fingerprint)


# Name constraints, as Go applies them to the SANs below a CA (RFC 5280 §4.2.1.10).

COMPARISON_LIMIT = 250_000
"""verify.go, maxConstraintComparisons: Go refuses a CA whose constraints take more."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def violations(authority: Anatomy, below: Iterable[Certificate]) -> Iterator[str]:
    """Yield one sentence for every name of `below` that the constraints of `authority` forbid.

    Like Go it compares no more than `COMPARISON_LIMIT` times: the last sentence then says so.
    """
    if authority.constraints is None:
        return
    excluded = _by_form(authority.constraints.excluded_subtrees)
    permitted = _by_form(authority.constraints.permitted_subtrees)
    compared = 0
    for form, name in (found for certificate in below for found in _names(certificate)):
        without, within = excluded.get(form, ()), permitted.get(form, ())
        compared += len(without) + len(within)
        if compared > COMPARISON_LIMIT:
            yield f"its name constraints take more than {COMPARISON_LIMIT:,} comparisons"
            return
        if any(_within(form, name, limit, excluding=True) for limit in without):
            yield f"`{name}` is excluded by the name constraints of the CA"
        if within and not any(_within(form, name, limit, excluding=False) for limit in within):
            yield f"`{name}` is not permitted by the name constraints of the CA"


def _by_form(
    subtrees: Iterable[x509.GeneralName] | None,
) -> dict[type[x509.GeneralName], Sequence[object]]:
    found: dict[type[x509.GeneralName], list[object]] = {}
    for subtree in subtrees or ():
        found.setdefault(type(subtree), []).append(subtree.value)
    return {form: tuple(values) for form, values in found.items()}


def _names(certificate: Certificate) -> Iterator[tuple[type[x509.GeneralName], str]]:
    for form, names in (
        (x509.DNSName, certificate.dns_names),
        (x509.RFC822Name, certificate.emails),
        (x509.UniformResourceIdentifier, certificate.uris),
        (x509.IPAddress, certificate.ip_addresses),
    ):
        for name in names:
            yield form, name


def _within(form: type[x509.GeneralName], name: str, limit: object, *, excluding: bool) -> bool:
    if form is x509.IPAddress:
        return _address_within(name, limit)
    if form is x509.DNSName:
        return domain_within(name, str(limit), excluding=excluding)
    if form is x509.RFC822Name:
        return _mailbox_within(name, str(limit))
    # Go fails a URI without a domain name whatever the subtree says: outside every permitted
    # one, inside every excluded one.
    host = _uri_host(name)
    return domain_within(host, str(limit)) if host else excluding


def _address_within(name: str, limit: object) -> bool:
    if not isinstance(limit, Network):
        return False
    address = ipaddress.ip_address(name)
    return address.version == limit.version and address in limit


def _mailbox_within(name: str, limit: str) -> bool:
    local, _, domain = name.rpartition("@")
    if "@" in limit:
        wanted_local, _, wanted_domain = limit.rpartition("@")
        return local == wanted_local and domain.lower() == wanted_domain.lower()
    return domain_within(domain, limit)


def _uri_host(name: str) -> str:
    try:
        host = urlsplit(name).hostname or ""
        ipaddress.ip_address(host)
    except ValueError:
        return "" if "[" in name else urlsplit(name).hostname or ""
    return ""


def domain_within(name: str, limit: str, *, excluding: bool = False) -> bool:
    """Return whether a domain name lies within the subtree `limit`, as crypto/x509 decides it.

    A subtree that begins with a dot asks for at least one more label. An excluded subtree also
    catches a wildcard that could stand for it (`*.example.com` and `a.example.com`).
    """
    if not limit:
        return True
    given, wanted = list(labels(name)), list(labels(limit.removeprefix(".")))
    if excluding and given[0] == "*" and len(given) > 1:
        given, wanted = given[1:], wanted[1:] if len(wanted) == len(given) else wanted
    if len(given) < len(wanted) or (limit.startswith(".") and len(given) == len(wanted)):
        return False
    return given[len(given) - len(wanted) :] == wanted
