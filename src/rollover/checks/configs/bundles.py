"""Rules over what is in a `ca_file`: CAs, valid, told apart, each once, and not too many."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.scene import ConfigScene, Used, trusting
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.names import RuleId
from rollover.pki.bundle import BundleFinding, BundleFindingKind, findings
from rollover.pki.pem import RemarkKind

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


def _told(configs: ConfigScene, rule: Rule) -> Iterator[tuple[Used, BundleFinding]]:
    """Yield what is wrong with bundles, each file of a server once."""
    seen: set[tuple[str, str]] = set()
    for used, bundle in trusting(configs):
        facts = configs.facts(used.block.ca_file)
        key = (used.server.config.path, facts.path if facts else "")
        if key in seen:
            continue
        seen.add(key)
        whole = facts.reading.certificates if facts and facts.reading else bundle
        for each in findings(whole, instant=configs.now):
            if _TOLD[each.kind] is rule:
                yield used, each


def dates(configs: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that have expired or are not valid yet: an error where no other is left."""
    for used, each in _told(configs, DATES):
        bundle = configs.bundle(used.block)
        valid = any(one.not_before <= configs.now <= one.not_after for one in bundle)
        severity = Severity.WARNING if valid else None
        place = used.place("ca_file")
        yield found(DATES, used.subject, each.detail, place=place, severity=severity)


def not_a_ca(configs: ConfigScene) -> Iterator[Finding]:
    """Yield members of bundles that are no CAs; `authority-malformed` tells of those that issue."""
    issuers = {each.fingerprint for one in configs.known.values() for each in configs.issuers(one)}
    for used, each in _told(configs, NOT_A_CA):
        if not issuers.intersection(each.certificates):
            member = configs.known.get(each.certificates[0])
            # Go takes a self-signed certificate as its own anchor, which may be meant.
            severity = Severity.WARNING if member and member.self_signed else None
            place = used.place("ca_file")
            yield found(NOT_A_CA, used.subject, each.detail, place=place, severity=severity)


def same_subject(configs: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that only their order tells apart."""
    for used, each in _told(configs, SAME_SUBJECT):
        yield found(SAME_SUBJECT, used.subject, each.detail, place=used.place("ca_file"))


def twice(configs: ConfigScene) -> Iterator[Finding]:
    """Yield what stands in a bundle before."""
    for used, each in _told(configs, TWICE):
        yield found(TWICE, used.subject, each.detail, place=used.place("ca_file"))
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


def too_long(configs: ConfigScene) -> Iterator[Finding]:
    """Yield bundles whose names do not fit into a TLS message."""
    for used, each in _told(configs, TOO_LONG):
        yield found(TOO_LONG, used.subject, each.detail, place=used.place("ca_file"))


CHECKS = (
    (DATES, dates),
    (NOT_A_CA, not_a_ca),
    (SAME_SUBJECT, same_subject),
    (TWICE, twice),
    (TOO_LONG, too_long),
)
