"""Rules over trust bundles: what is in a `ca_file`, where it comes from, how wide it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from rollover.checks.configs.scene import ConfigScene, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import FORCED, TlsContext
from rollover.pki.bundle import BundleFindingKind, findings

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
    meaning="A `ca_file` between servers holds a CA from which no server of these configurations "
    "has its chain.",
    why="Every CA in it can make a certificate for any name or mapped user.",
    example="The whole of a distribution's ca-certificates as `ca_file` of a gateway.",
    remedy="Take it out once no peer outside of these files needs it; a standby CA is meant to be "
    "there: silence it with that reason.",
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

_BETWEEN_SERVERS = FORCED | {TlsContext.GATEWAY_REMOTE}
_TOLD = {
    BundleFindingKind.EXPIRED: DATES,
    BundleFindingKind.NOT_YET_VALID: DATES,
    BundleFindingKind.NOT_A_CA: NOT_A_CA,
    BundleFindingKind.AMBIGUOUS_SUBJECT: SAME_SUBJECT,
    BundleFindingKind.DUPLICATE: TWICE,
    BundleFindingKind.SAME_KEY: TWICE,
    BundleFindingKind.TOO_MANY_NAMES: TOO_LONG,
}


def _bundles(scene: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    for used in scene.used:
        bundle = scene.bundle(used.block)
        if bundle:
            yield used, bundle


def _peers(scene: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    for used, bundle in _bundles(scene):
        if used.block.context in _BETWEEN_SERVERS:
            yield used, bundle


def _above(chain: tuple[Certificate, ...], candidates: tuple[Certificate, ...]) -> set[str]:
    """Return the candidates that the chain leads to, by names: served ones and issuers."""
    names = {each.issuer for each in chain} | {each.subject for each in chain[1:]}
    reached: set[str] = set()
    for _ in range(len(candidates) + 1):
        more = {each.fingerprint for each in candidates if each.subject in names}
        if more <= reached:
            break
        reached |= more
        names |= {each.issuer for each in candidates if each.fingerprint in reached}
    return reached


def own_issuer(scene: ConfigScene) -> Iterator[Finding]:
    """Yield blocks between servers that trust their own issuer's intermediate and nobody else."""
    for used, bundle in _peers(scene):
        chain = scene.chain(used.block)
        own = {each.fingerprint for each in bundle} <= _above(chain, bundle)
        # A root of one's own company is meant to be the issuer of everybody.
        if chain and own and not all(each.self_signed for each in bundle):
            issuer = chain[0].issuer
            message = f"`ca_file` holds only the issuer of this block's own certificate, `{issuer}`"
            yield found(OWN_ISSUER, used.subject, message, place=used.place("ca_file"))


def beside_key(scene: ConfigScene) -> Iterator[Finding]:
    """Yield bundles between servers that lie beside the key, under the name that renewals use."""
    for used, _ in _peers(scene):
        block = used.block
        if block.ca_file is None or not block.certificates:
            continue
        ca, key = PurePath(block.ca_file.path), PurePath(block.certificates[0].key_file.path)
        if ca.parent == key.parent and ca.name in {"ca.crt", "ca.pem"} and key.name == "tls.key":
            message = f"`{block.ca_file.written}` lies beside `{key.name}`: renewals overwrite both"
            yield found(BESIDE_KEY, used.subject, message, place=used.place("ca_file"))


def single(scene: ConfigScene) -> Iterator[Finding]:
    """Yield bundles between servers that hold one CA."""
    for used, bundle in _peers(scene):
        if len(bundle) == 1:
            message = f"`{bundle[0].subject}` is the only CA that peers may come from"
            yield found(SINGLE, used.subject, message, place=used.place("ca_file"))


def _told(scene: ConfigScene, rule: Rule) -> Iterator[Finding]:
    for used, bundle in _bundles(scene):
        facts = scene.facts(used.block.ca_file)
        whole = facts.reading.certificates if facts and facts.reading else bundle
        for each in findings(whole, instant=scene.now):
            if _TOLD[each.kind] is rule:
                yield found(rule, used.subject, each.detail, place=used.place("ca_file"))


def dates(scene: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that have expired or are not valid yet."""
    yield from _told(scene, DATES)


def not_a_ca(scene: ConfigScene) -> Iterator[Finding]:
    """Yield members of bundles that are no CAs."""
    yield from _told(scene, NOT_A_CA)


def same_subject(scene: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that only their order tells apart."""
    yield from _told(scene, SAME_SUBJECT)


def twice(scene: ConfigScene) -> Iterator[Finding]:
    """Yield what stands in a bundle before."""
    yield from _told(scene, TWICE)


def too_long(scene: ConfigScene) -> Iterator[Finding]:
    """Yield bundles whose names do not fit into a TLS message."""
    yield from _told(scene, TOO_LONG)


def public(scene: ConfigScene) -> Iterator[Finding]:
    """Yield blocks that verify against the roots of the operating system."""
    for used in scene.used:
        if used.block.demands_certificate and used.block.ca_file is None:
            message = "demands certificates and names no `ca_file`: every public CA is trusted"
            yield found(PUBLIC, used.subject, message, place=used.place("verify"))


def wide(scene: ConfigScene) -> Iterator[Finding]:
    """Yield CAs between servers from which no server of these configurations comes."""
    chains = [scene.chain(used.block) for used in scene.used if scene.chain(used.block)]
    if len(scene.servers) < 2:  # noqa: PLR2004 - one server alone says nothing about its peers
        return
    for used, bundle in _peers(scene):
        needed = set().union(*(_above(chain, bundle) for chain in chains))
        idle = [each for each in bundle if each.fingerprint not in needed]
        if idle:
            names = ", ".join(f"`{each.subject}`" for each in idle[:3])
            more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""  # noqa: PLR2004 - named
            message = f"no server here comes from {names}{more}"
            yield found(WIDE, used.subject, message, place=used.place("ca_file"))


def shared(scene: ConfigScene) -> Iterator[Finding]:
    """Yield bundles that serve clients and servers alike."""
    for server in scene.servers:
        clients = server.config.block(TlsContext.TOP)
        if clients is None or clients.ca_file is None or not clients.demands_certificate:
            continue
        for used in scene.used:
            block = used.block
            if used.server is not server or block.context not in _BETWEEN_SERVERS:
                continue
            if block.ca_file is not None and block.ca_file.path == clients.ca_file.path:
                message = f"`{block.ca_file.written}` is also what clients are judged by"
                yield found(SHARED, used.subject, message, place=used.place("ca_file"))


CHECKS = (
    (OWN_ISSUER, own_issuer),
    (BESIDE_KEY, beside_key),
    (SINGLE, single),
    (DATES, dates),
    (NOT_A_CA, not_a_ca),
    (SAME_SUBJECT, same_subject),
    (TWICE, twice),
    (TOO_LONG, too_long),
    (PUBLIC, public),
    (WIDE, wide),
    (SHARED, shared),
)
