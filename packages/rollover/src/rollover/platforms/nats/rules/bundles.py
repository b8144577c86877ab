"""Rules over bundles: whom a block trusts, whom it need not trust, and what is odd in its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from nats_config.tls import ALWAYS_VERIFIED
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint, RuleId
from rollover.pki.bundle import BundleFinding, BundleFindingKind, findings
from rollover.pki.pem import RemarkKind
from rollover.platforms.nats.rules.chains import BETWEEN, public_cas
from rollover.platforms.nats.rules.context import ConfigContext, UsedBlock, trusting
from rollover.rules.rule import Finding, Rule, Severity, found

# Whom a `ca_file` trusts: where it comes from, how wide it is, for whom it is.

OWN_ISSUER = Rule(
    id=RuleId("trust-from-own-issuer"),
    severity=Severity.ERROR,
    title="Peers are not judged by the issuer of one's own certificate",
    meaning="A `ca_file` between servers holds nothing but CAs of the chain that the same block "
    "presents: the `ca.pem` that came with the certificate.",
    why="The day the issuer signs with another intermediate, the renewed server trusts nobody and "
    "nobody trusts it. Gateways stay up until their next reconnect, and then never come back.",
    example="`gateway { tls { cert_file: tls.crt, ca_file: ca.crt } }`, both from one secret.",
    remedy="Decide which CAs peers may come from: `rollover bundle build`, and point `ca_file` to "
    "that file.",
    source="NATS blog, CA rollovers; measured with real gateways: 37 % of messages lost",
)
BESIDE_KEY = Rule(
    id=RuleId("trust-beside-own-key"),
    severity=Severity.WARNING,
    title="Trust bundles have a place of their own",
    meaning="The `ca_file` between servers is named `ca.crt` or `ca.pem` and lies beside the key.",
    why="Whatever renews the key (cert-manager, an operator) overwrites the bundle too.",
    example="A Kubernetes secret with tls.crt, tls.key and ca.crt, mounted as one directory.",
    remedy="Mount the bundle from a ConfigMap of its own: `rollover bundle build --kubernetes`.",
    source="NATS blog, CA rollovers",
)
SINGLE = Rule(
    id=RuleId("trust-in-one-authority"),
    severity=Severity.WARNING,
    title="Server to server trust has room for the next CA",
    meaning="A `ca_file` of a cluster or gateway holds one CA only.",
    why="The next CA has to be added everywhere before it can be used, in a hurry if this one is "
    "compromised.",
    example="`cluster { tls { ca_file: ca.pem } }` with one certificate in it.",
    remedy="Trust a standby CA now: `rollover rotate --standby`.",
    source="RFC 4210 §4.4; NATS blog, CA rollovers",
)
PUBLIC = Rule(
    id=RuleId("trust-in-every-public-authority"),
    severity=Severity.ERROR,
    title="Verification has a CA of its own to verify against",
    meaning="A block demands certificates of its peers and names no `ca_file`.",
    why="Go then takes the roots of the operating system: whoever has any certificate of any "
    "public CA is let in.",
    example="`cluster { tls { cert_file: a, key_file: b } }`: clusters always verify.",
    remedy="Name a `ca_file` with the CAs that peers come from.",
    source="nats-server TLS documentation; measured",
)
WIDE = Rule(
    id=RuleId("trust-wider-than-needed"),
    severity=Severity.WARNING,
    title="Nobody is trusted whom no peer needs",
    meaning="A `ca_file` holds CAs from which nobody in these files comes: a public root, or more "
    "than one standby for each CA in use.",
    why="Every CA in it can make a certificate for any name or mapped user.",
    example="The whole of a distribution's ca-certificates as `ca_file` of a gateway.",
    remedy="Take them out once no peer outside of these files needs them.",
    source="Measured: with `verify_and_map` any CA of the bundle can mint any identity",
)
SHARED = Rule(
    id=RuleId("trust-shared-between-purposes"),
    severity=Severity.WARNING,
    title="Clients and servers are judged by bundles of their own",
    meaning="One `ca_file` serves the ports of clients and those between servers.",
    why="A CA that is added for clients can then make itself a route or gateway.",
    example="`tls { ca_file: ca.pem }` and `gateway { tls { ca_file: ca.pem } }`.",
    remedy="Use a file for each purpose, even with the same content for now.",
    source="NATS blog, CA rollovers",
)

LEFTOVER = Rule(
    id=RuleId("old-authority-still-trusted"),
    severity=Severity.WARNING,
    title="After a rotation the old CA is gone",
    meaning="A bundle holds a CA from which nobody comes any more, and which is older than those "
    "that are in use.",
    why="Whoever has its key (the reason for the rotation, perhaps) can still be any server.",
    example="The files of one node of five, which was down when the old CA was taken out.",
    remedy="Finish the rotation (`rollover resume`), or take it out: `rollover bundle remove`.",
    source="RFC 4210 §4.4; measured: a peer of a removed CA is refused at its next handshake only",
)

_MOST_NAMED = 3


def _peers(configs: ConfigContext) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...]]]:
    for used, bundle in trusting(configs):
        if used.block.context in BETWEEN:
            yield used, bundle


def _above(configs: ConfigContext, chains: Iterable[tuple[Certificate, ...]]) -> set[Fingerprint]:
    """Return what chains hold and lead to: their CAs, those that issued them, and so on."""
    open_ends = [certificate for chain in chains for certificate in chain]
    seen = {certificate.fingerprint for certificate in open_ends}
    while open_ends:
        for issuer in configs.issuers(open_ends.pop()):
            if issuer.fingerprint not in seen:
                seen.add(issuer.fingerprint)
                open_ends.append(issuer)
    return seen


def _peer_files(configs: ConfigContext) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...]]]:
    """Yield the bundles between servers, each file of a server once."""
    seen: set[tuple[str, str]] = set()
    for used, bundle in _peers(configs):
        path = used.block.ca_file.path if used.block.ca_file else ""
        if (used.server.config.path, path) not in seen:
            seen.add((used.server.config.path, path))
            yield used, bundle


def _only_own(
    configs: ConfigContext,
    used: UsedBlock,
    bundle: tuple[Certificate, ...],
    public: frozenset[Fingerprint],
) -> bool:
    """Say whether a bundle holds the issuer of the block's own chain and nobody else.

    A root of one's own company is meant to be the issuer of everybody, also beside its
    intermediates; a public root is not.
    """
    chain = configs.chain(used.block)
    own = {certificate.fingerprint for certificate in bundle} <= _above(configs, (chain,))
    return (
        bool(chain)
        and own
        and all(
            certificate.fingerprint in public for certificate in bundle if certificate.self_signed
        )
    )


def own_issuer(configs: ConfigContext) -> Iterator[Finding]:
    """Yield blocks between servers that trust their own issuer's intermediates and nobody else.

    With its root beside them the siblings of an intermediate are trusted too: a warning.
    """
    public = public_cas(configs)
    for used, bundle in _peer_files(configs):
        if _only_own(configs, used, bundle, public):
            names = ", ".join(f"`{certificate.subject}`" for certificate in bundle[:_MOST_NAMED])
            message = f"`ca_file` holds only the issuer of this block's own certificate: {names}"
            rooted = any(certificate.self_signed for certificate in bundle)
            severity = Severity.WARNING if rooted else None
            place = used.place("ca_file")
            yield found(OWN_ISSUER, used.subject, message, place=place, severity=severity)


def beside_key(configs: ConfigContext) -> Iterator[Finding]:
    """Yield bundles between servers that lie beside the key, under the name that renewals use."""
    for used, _ in _peers(configs):
        block = used.block
        if block.ca_file is None or not block.certificates:
            continue
        ca, key = PurePath(block.ca_file.path), PurePath(block.certificates[0].key_file.path)
        # The names in a Secret of the type `kubernetes.io/tls`, as cert-manager writes it.
        if ca.parent == key.parent and ca.name in {"ca.crt", "ca.pem"} and key.name == "tls.key":
            message = f"`{block.ca_file.written}` lies beside `{key.name}`: renewals overwrite both"
            yield found(BESIDE_KEY, used.subject, message, place=used.place("ca_file"))


def single(configs: ConfigContext) -> Iterator[Finding]:
    """Yield bundles between servers that hold one CA, where `own_issuer` does not say more."""
    public = public_cas(configs)
    for used, bundle in _peer_files(configs):
        if len(bundle) == 1 and not _only_own(configs, used, bundle, public):
            message = f"`{bundle[0].subject}` is the only CA that peers may come from"
            yield found(SINGLE, used.subject, message, place=used.place("ca_file"))


def public(configs: ConfigContext) -> Iterator[Finding]:
    """Yield blocks that verify against the roots of the operating system."""
    for used in configs.used:
        if used.block.demands_certificate and used.block.ca_file is None:
            message = "demands certificates and names no `ca_file`: every public CA is trusted"
            yield found(PUBLIC, used.subject, message, place=used.place("verify"))


class _Idle(NamedTuple):
    """A bundle and what of it nobody needs: CAs older than those in use, and the others."""

    used: UsedBlock
    needed: int
    older: list[Certificate]
    others: list[Certificate]


def _idle(configs: ConfigContext) -> Iterator[_Idle]:
    """Yield bundles with CAs from which nobody comes, where enough parties are known to say so."""
    of_servers = _above(configs, (configs.chain(used.block) for used in configs.used))
    of_all = of_servers | _above(configs, configs.clients)
    for used, bundle in trusting(configs):
        if used.block.context in BETWEEN and len(configs.servers) > 1:
            sources = of_servers
        elif used.block.context.accepts and used.block.demands_certificate and configs.clients:
            sources = of_all
        else:
            continue
        needed = sources & {certificate.fingerprint for certificate in bundle}
        idle = [certificate for certificate in bundle if certificate.fingerprint not in needed]
        begin = min(
            (certificate.not_before for certificate in bundle if certificate.fingerprint in needed),
            default=None,
        )
        older = [
            certificate
            for certificate in idle
            if begin is not None and certificate.not_before < begin
        ]
        others = [certificate for certificate in idle if certificate not in older]
        yield _Idle(used, len(needed), older, others)


def wide(configs: ConfigContext) -> Iterator[Finding]:
    """Yield bundles with more CAs that nobody comes from than one standby for each in use.

    A public root is no standby.
    """
    known = public_cas(configs)
    for used, needed, older, others in _idle(configs):
        public = [
            authority
            for authority in (*older, *others)
            if authority.self_signed and authority.fingerprint in known
        ]
        idle = others if len(others) > max(needed, 1) else public
        if idle:
            message = f"nobody here comes from {_subjects(idle)}"
            yield found(WIDE, used.subject, message, place=used.place("ca_file"))


def leftover(configs: ConfigContext) -> Iterator[Finding]:
    """Yield CAs older than those in use, from which nobody comes any more."""
    for used, _, older, _ in _idle(configs):
        if older:
            message = f"nobody here comes from {_subjects(older)} any more"
            yield found(LEFTOVER, used.subject, message, place=used.place("ca_file"))


def _subjects(certificates: list[Certificate]) -> str:
    names = ", ".join(f"`{certificate.subject}`" for certificate in certificates[:_MOST_NAMED])
    more = len(certificates) - _MOST_NAMED
    return names + (f" and {more} more" if more > 0 else "")


def shared(configs: ConfigContext) -> Iterator[Finding]:
    """Yield bundles that serve clients or leaf nodes and peers alike."""
    for used, _ in _peers(configs):
        own = used.block.ca_file
        others = [
            block.name
            for block in used.server.config.tls
            if block.context.accepts
            and block.context not in ALWAYS_VERIFIED
            and block.demands_certificate
            and block.ca_file is not None
            and own is not None
            and block.ca_file.path == own.path
        ]
        if own is not None and others:
            message = f"`{own.written}` is also what `{'`, `'.join(others)}` judges by"
            yield found(SHARED, used.subject, message, place=used.place("ca_file"))


TRUST_CHECKS = (
    (OWN_ISSUER, own_issuer),
    (BESIDE_KEY, beside_key),
    (SINGLE, single),
    (PUBLIC, public),
    (WIDE, wide),
    (LEFTOVER, leftover),
    (SHARED, shared),
)


# What is in a `ca_file`: CAs, valid, told apart, each once, and not too many.

DATES = Rule(
    id=RuleId("bundle-dates"),
    severity=Severity.ERROR,
    title="Every CA of a bundle is valid now",
    meaning="A CA in a `ca_file` has expired, or is not valid yet.",
    why="It lets nobody in, and hides that nobody can come from it.",
    example="A root that ended last year, kept for good measure.",
    remedy="Take it out: `rollover bundle remove`.",
    source="RFC 5280 §6.1.3",
)
NOT_A_CA = Rule(
    id=RuleId("bundle-leaf"),
    severity=Severity.ERROR,
    title="Bundles hold CAs",
    meaning="A certificate in a `ca_file` is no CA: it has no basic constraints that say so.",
    why="It can vouch for itself at most, and for nothing that is issued later.",
    example="The server's own chain, used as `ca_file`.",
    remedy="Put the CA that issued it in its place.",
    source="RFC 5280 §4.2.1.9",
)
SAME_SUBJECT = Rule(
    id=RuleId("bundle-same-subject"),
    severity=Severity.WARNING,
    title="CAs of one bundle can be told apart",
    meaning="Two CAs have one subject, and no key identifiers that differ.",
    why="Go tries both; OpenSSL peers try the first only, and refuse leaves of the other.",
    example="Old and new BOSH NATS CA, both `CN=default.nats-ca.bosh-internal`.",
    remedy="Give the new CA a subject of its own (a year, a number).",
    source="RFC 5280 §4.2.1.1; measured on 58 chains",
)
TWICE = Rule(
    id=RuleId("bundle-duplicate"),
    severity=Severity.WARNING,
    title="Nothing stands in a bundle twice",
    meaning="A CA, or another certificate of the same key and subject, stands in a bundle before.",
    why="Whoever removes it once believes that it is gone.",
    example="A renewal beside the certificate that it renews, after the rotation has ended.",
    remedy="`rollover bundle check FILE` names them, `rollover bundle remove` takes one out.",
    source="trust-manager's rule for bundles",
)
TOO_LONG = Rule(
    id=RuleId("bundle-too-long"),
    severity=Severity.ERROR,
    title="The names of a bundle fit into a TLS message",
    meaning="The subjects of all CAs of a bundle take more than 64 KiB.",
    why="The server cannot send its list: every mutual handshake fails, for everybody.",
    example="800 CAs of 89 octets each.",
    remedy="Trust the CAs that peers really come from.",
    source="RFC 8446 §4.2.4; measured: 801 CAs break the listener",
)
_TOLD = {
    BundleFindingKind.EXPIRED: DATES,
    BundleFindingKind.NOT_YET_VALID: DATES,
    BundleFindingKind.NOT_A_CA: NOT_A_CA,
    BundleFindingKind.AMBIGUOUS_SUBJECT: SAME_SUBJECT,
    BundleFindingKind.DUPLICATE: TWICE,
    BundleFindingKind.SAME_KEY: TWICE,
    BundleFindingKind.TOO_MANY_NAMES: TOO_LONG,
}


def _told(configs: ConfigContext, rule: Rule) -> Iterator[tuple[UsedBlock, BundleFinding]]:
    """Yield what is wrong with bundles, each file of a server once."""
    seen: set[tuple[str, str]] = set()
    for used, bundle in trusting(configs):
        facts = configs.facts(used.block.ca_file)
        key = (used.server.config.path, facts.path if facts else "")
        if key in seen:
            continue
        seen.add(key)
        whole = facts.reading.certificates if facts and facts.reading else bundle
        for finding in findings(whole, instant=configs.now):
            if _TOLD[finding.kind] is rule:
                yield used, finding


def dates(configs: ConfigContext) -> Iterator[Finding]:
    """Yield CAs that have expired or are not valid yet: an error where no other is left."""
    for used, finding in _told(configs, DATES):
        bundle = configs.bundle(used.block)
        valid = any(
            authority.not_before <= configs.now <= authority.not_after for authority in bundle
        )
        severity = Severity.WARNING if valid else None
        place = used.place("ca_file")
        yield found(DATES, used.subject, finding.detail, place=place, severity=severity)


def not_a_ca(configs: ConfigContext) -> Iterator[Finding]:
    """Yield members of bundles that are no CAs; `authority-malformed` tells of those that issue."""
    issuers = {
        issuer.fingerprint
        for certificate in configs.known.values()
        for issuer in configs.issuers(certificate)
    }
    for used, finding in _told(configs, NOT_A_CA):
        if not issuers.intersection(finding.certificates):
            member = configs.known.get(finding.certificates[0])
            # Go takes a self-signed certificate as its own anchor, which may be meant.
            severity = Severity.WARNING if member and member.self_signed else None
            place = used.place("ca_file")
            yield found(NOT_A_CA, used.subject, finding.detail, place=place, severity=severity)


def same_subject(configs: ConfigContext) -> Iterator[Finding]:
    """Yield CAs that only their order tells apart."""
    for used, finding in _told(configs, SAME_SUBJECT):
        yield found(SAME_SUBJECT, used.subject, finding.detail, place=used.place("ca_file"))


def twice(configs: ConfigContext) -> Iterator[Finding]:
    """Yield what stands in a bundle before."""
    for used, finding in _told(configs, TWICE):
        yield found(TWICE, used.subject, finding.detail, place=used.place("ca_file"))
    seen: set[tuple[str, str]] = set()
    for used, _ in trusting(configs):
        facts = configs.facts(used.block.ca_file)
        if facts is None or facts.reading is None:
            continue
        for remark in facts.reading.remarks:
            key = (facts.path, remark.detail)
            if remark.kind is RemarkKind.DUPLICATE and key not in seen:
                seen.add(key)
                place = f"{facts.path}:{remark.line}:1"
                yield found(TWICE, used.subject, remark.detail, place=place)


def too_long(configs: ConfigContext) -> Iterator[Finding]:
    """Yield bundles whose names do not fit into a TLS message."""
    for used, finding in _told(configs, TOO_LONG):
        yield found(TOO_LONG, used.subject, finding.detail, place=used.place("ca_file"))


BUNDLE_CHECKS = (
    (DATES, dates),
    (NOT_A_CA, not_a_ca),
    (SAME_SUBJECT, same_subject),
    (TWICE, twice),
    (TOO_LONG, too_long),
)
