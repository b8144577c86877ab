"""Rules over certificates and bundles: dates, what they may be used for, which CAs are trusted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollover.fleet.certificate import Bundle, Certificate, Stack
from rollover.fleet.fleet import Authority, EndpointRef, Instance, Role
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, RuleId
from rollover.rules.context import Party, RuleContext, some_names
from rollover.rules.rule import Finding, Rule, Severity, found

# Dates: of every chain in use, and of the CAs above it.

EXPIRED = Rule(
    id=RuleId("certificate-expired"),
    severity=Severity.ERROR,
    title="Every certificate in use is still valid",
    meaning="A chain that an endpoint presents has expired: the leaf, an intermediate or the CA "
    "above them, whichever ends first.",
    why="Every new handshake with it fails. Nothing shows it while connections stay open, and the "
    "rule of safety cannot protect links that do not work.",
    example="`n2/client`: the CA `nats-ca@1` above its leaf expired 3 days ago.",
    remedy="Rotate now: the plan leads from the broken state to a working one; expect instances "
    "that are cut off to need a restart or a new deploy.",
    source="RFC 5280 §4.1.2.5; BOSH, when the CA has already expired",
)
EXPIRES_SOON = Rule(
    id=RuleId("certificate-expires-soon"),
    severity=Severity.WARNING,
    title="No certificate in use expires soon",
    meaning="The earliest end of a chain (leaf, intermediates, CA) lies within the days asked for.",
    why="A leaf is worth no more than the CA above it: when that ends, all of its leaves end.",
    example="`n1/route`: the leaf expires in 12 days.",
    remedy="Rotate while everything still works.",
    source="RFC 5280 §6.1: a path is valid only while all of its certificates are",
)
NOT_YET_VALID = Rule(
    id=RuleId("certificate-not-yet-valid"),
    severity=Severity.ERROR,
    title="Every certificate in use is valid already",
    meaning="A leaf, intermediate or CA that is presented or trusted begins to be valid later.",
    why="Peers refuse it until then. Often a clock is wrong: here, or where it was made.",
    example="`n1/client`: `CN=NATS CA 2` is valid from 14:05, it is 14:02.",
    remedy="Wait until it is valid, or compare the clocks.",
    source="RFC 5280 §4.1.2.5; measured on nats-server: a CA from the future is refused",
)
MARGIN = Rule(
    id=RuleId("validity-margin"),
    severity=Severity.ERROR,
    title="Certificates stay valid longer than a step takes",
    meaning="A chain in use ends before the longest rollout, with its `margin_seconds`, would.",
    why="Each step that touches its links would be refused (`validity-window`).",
    example="The leaf of `c4` ends in 3 minutes; a rollout with its margin takes 6.",
    remedy="Make `margin_seconds` smaller, put more instances in flight, or renew the leaf first.",
    source="The safety rule: validity is checked at both ends of the step's window",
)
OUTLIVES = Rule(
    id=RuleId("leaf-outlives-authority"),
    severity=Severity.WARNING,
    title="No leaf outlives the CA that issued it",
    meaning="A leaf's last day lies after the last day of its CA.",
    why="Whoever watches the leaf's date is surprised when the CA ends first.",
    example="`c1/client` is valid until 2028, its CA `nats-ca@1` until 2027.",
    remedy="Watch the CA's date; leaves that Rollover issues never outlive their CA.",
    source="RFC 5280 §6.1",
)


def expired(context: RuleContext) -> Iterator[Finding]:
    """Yield the chains of which a certificate has expired."""
    for party, last in _ends(context):
        if last.not_after < context.now:
            ago = _days(context.now - last.not_after)
            yield found(EXPIRED, str(party.ref), f"{_name(context, last)} expired {ago} ago")


def expires_soon(context: RuleContext) -> Iterator[Finding]:
    """Yield the chains that end within the time asked for."""
    within = context.knowledge.expires_within
    for party, last in _ends(context):
        left = last.not_after - context.now
        # What has ended already is for `expired` to tell.
        if timedelta() <= left < within:
            yield found(
                EXPIRES_SOON, str(party.ref), f"{_name(context, last)} expires in {_days(left)}"
            )


def not_yet_valid(context: RuleContext) -> Iterator[Finding]:
    """Yield the certificates, presented or trusted, that are valid only later."""
    for party in context.parties:
        endpoint = party.endpoint
        in_use = (
            *context.whole_chain(endpoint.presents),
            *context.certificates(endpoint.trusts or ()),
        )
        for certificate in dict.fromkeys(in_use):
            if certificate.not_before > context.now:
                begins = f"{certificate.not_before:%Y-%m-%d %H:%M:%S} UTC"
                yield found(
                    NOT_YET_VALID,
                    str(party.ref),
                    f"{_name(context, certificate)} is valid from {begins}",
                )


def margin(context: RuleContext) -> Iterator[Finding]:
    """Yield the chains that end before a step could."""
    longest = max((group.rollout_time for group in context.fleet.groups), default=timedelta())
    needed = longest + timedelta(seconds=context.description.margin_seconds)
    for party, last in _ends(context):
        left = last.not_after - context.now
        if timedelta() <= left < needed:
            yield found(
                MARGIN,
                str(party.ref),
                f"{_name(context, last)} ends in {left.total_seconds():.0f} s, a step with its "
                f"margin takes {needed.total_seconds():.0f} s",
            )


def outlives(context: RuleContext) -> Iterator[Finding]:
    """Yield the leaves that end after their CA."""
    for party in context.parties:
        if party.endpoint.source is not None:
            continue  # its dates are concluded, and whoever feeds it decides about them
        issuer = context.issuer(party.endpoint.presents)
        authority = context.certificate(issuer) if issuer else None
        leaf = context.certificate(party.endpoint.presents[0]) if party.endpoint.presents else None
        if authority and leaf and leaf.not_after > authority.not_after:
            yield found(
                OUTLIVES,
                str(party.ref),
                f"the leaf is valid until {leaf.not_after:%Y-%m-%d}, its CA "
                f"{context.label(authority.fingerprint)} until {authority.not_after:%Y-%m-%d}",
            )


def _ends(context: RuleContext) -> Iterator[tuple[Party, Certificate]]:
    """Yield each endpoint that presents a chain, and the certificate of it that ends first."""
    for party in context.parties:
        chain = context.whole_chain(party.endpoint.presents)
        if chain:
            yield party, min(chain, key=lambda certificate: certificate.not_after)


def _name(context: RuleContext, certificate: Certificate) -> str:
    kind = "the CA" if certificate.is_ca else "the leaf"
    return f"{kind} {context.label(certificate.fingerprint)}"


def _days(time: timedelta) -> str:
    if time < timedelta(days=2):
        return f"{time.total_seconds() / 3600:.1f} hours"
    return f"{time.days} days"


CHECKS = (
    (EXPIRED, expired),
    (EXPIRES_SOON, expires_soon),
    (NOT_YET_VALID, not_yet_valid),
    (MARGIN, margin),
    (OUTLIVES, outlives),
)


# What certificates may be used for, and how their CAs can be told apart.

USAGE_MISSING = Rule(
    id=RuleId("usage-missing"),
    severity=Severity.ERROR,
    title="Peers of both directions have certificates for both directions",
    meaning="Routes and gateways dial and are dialled with one certificate, but its extended key "
    "usage, or that of a CA above it, allows only one of server and client authentication.",
    why="A route that fails in one direction is hidden by the other one until that server "
    "restarts; a gateway works one way only.",
    example="`n2/route` has `server_auth` only: the cluster is whole while `n1` dials `n2`, and "
    "falls apart once `n2` has to dial.",
    remedy="Issue it with both server and client authentication.",
    source="Measured on nats-server 2.15: extended key usage on routes and gateways; "
    "RFC 5280 §4.2.1.12",
)
NO_KEY_ID = Rule(
    id=RuleId("authority-without-key-id"),
    severity=Severity.WARNING,
    title="Every CA has a key identifier",
    meaning="A CA that is trusted has no subject key identifier.",
    why="Peers then find the issuer of a leaf by its subject alone; with a second CA of the same "
    "subject OpenSSL takes the first one and fails.",
    example="`CN=NATS CA` (3f0c…) has no subject key identifier.",
    remedy="The next CA has one, and a subject of its own: rotate to it.",
    source="RFC 5280 §4.2.1.2; measured on OpenSSL 3",
)

_BOTH_WAYS = frozenset((Role.ROUTE, Role.GATEWAY))
_NEEDED = ("server_auth", "client_auth")


def usage_missing(context: RuleContext) -> Iterator[Finding]:
    """Yield the endpoints that dial and are dialled with a chain that is good for one of both."""
    for party in context.parties:
        if party.endpoint.role not in _BOTH_WAYS:
            continue
        for certificate in context.whole_chain(party.endpoint.presents):
            missing = [usage for usage in _NEEDED if not _allows(certificate, usage)]
            if missing:
                yield found(
                    USAGE_MISSING,
                    str(party.ref),
                    f"{_name(context, certificate)} lacks {', '.join(missing)}",
                )
                break


def _allows(certificate: Certificate, usage: str) -> bool:
    # Of a CA too: Go and OpenSSL both nest usages down the path, though RFC 5280 does not.
    allowed = certificate.extended_key_usages
    return allowed is None or usage in allowed or "any" in allowed


def no_key_id(context: RuleContext) -> Iterator[Finding]:
    """Yield the CAs in bundles that have no subject key identifier."""
    for fingerprint, refs in context.trusted.items():
        certificate = context.certificate(fingerprint)
        if certificate is not None and certificate.is_ca and not certificate.subject_key_id:
            yield found(
                NO_KEY_ID,
                context.label(fingerprint),
                f"it has no subject key identifier; {some_names(refs)} trust it",
            )


USAGE_CHECKS = ((USAGE_MISSING, usage_missing), (NO_KEY_ID, no_key_id))


# Bundles: which CAs are trusted, which are used, and which can be worked with here.

SAME_SUBJECT = Rule(
    id=RuleId("same-subject-authorities"),
    severity=Severity.ERROR,
    title="CAs in one bundle have subjects of their own",
    meaning="A bundle holds two CAs with one subject and different keys.",
    why="OpenSSL peers tell them apart by key identifiers only: without those they try the first "
    "one, and half of the fleet fails. Servers advertise CAs by subject, so nobody can see from "
    "outside which one they trust.",
    example="`c1/client` trusts `CN=NATS CA` twice, with different keys.",
    remedy="Use a subject of its own for each CA version, such as a number at its end; Rollover "
    "does.",
    source="Measured on nats-server and OpenSSL 3: bundle of two roots with one name",
)
UNUSED = Rule(
    id=RuleId("trusts-unused-authority"),
    severity=Severity.WARNING,
    title="No bundle trusts a CA that nobody here presents",
    meaning="A CA is trusted, is no version of an authority of this fleet, and no endpoint of the "
    "fleet presents a chain from it.",
    why="Whoever holds its key can come in as anybody. Or its clients are missing from the fleet "
    "file, and a rotation would not know of them.",
    example="`n1/client` trusts `CN=Legacy CA`, from which nobody presents a certificate.",
    remedy="Take it out of the bundle, or add its users to the fleet file.",
    source="Measured on nats-server: any CA of a bundle can mint any identity",
)
NO_KEY = Rule(
    id=RuleId("authority-without-key"),
    severity=Severity.WARNING,
    title="The keys of the CAs in use are here",
    meaning="Endpoints present certificates of a CA version whose private key is not in the store.",
    why="A rotation away from it works. Cross-signing the new CA, rolling back with new leaves, "
    "and dialling with a certificate of the old CA as a proof do not.",
    example="`nats-ca@1`: 24 endpoints present its certificates, its key is not here.",
    remedy="`rollover authority import NAME --certificate FILE --key FILE` brings it in.",
    source="The planner: a bridge and a leaf need the key that signs them",
)
MIXED = Rule(
    id=RuleId("mixed-state"),
    severity=Severity.WARNING,
    title="No rotation is half done",
    meaning="Endpoints present certificates of more than one version of an authority, or files on "
    "disk differ from what an instance uses.",
    why="Somebody began to change something. A plan starts from what is observed, so it can go "
    "on, but the first step should be a decision.",
    example="3 endpoints present `nats-ca@2`, 21 still `nats-ca@1`.",
    remedy="`rollover status` shows what was begun here; `rollover rotate` goes on, `rollover "
    "rollback` takes it back.",
    source="The planner: the start of a plan is what is observed",
)


def same_subject(context: RuleContext) -> Iterator[Finding]:
    """Yield the CAs that share a subject in a bundle; a warning where key identifiers help."""
    for bundle, refs in _bundles(context).items():
        by_subject: dict[str, list[Certificate]] = {}
        for certificate in context.certificates(bundle):
            by_subject.setdefault(certificate.subject, []).append(certificate)
        for subject, alike in by_subject.items():
            # One subject with one key is a renewal or a cross-signature: each verifies the leaves.
            keys = {certificate.key_identity or certificate.fingerprint for certificate in alike}
            if len(keys) > 1:
                yield _same_subject(context, subject, alike, refs)


def _same_subject(
    context: RuleContext, subject: str, alike: list[Certificate], refs: list[EndpointRef]
) -> Finding:
    told_apart = _told_apart(context, alike)
    trusting = set(refs)
    stacks = {party.endpoint.stack for party in context.parties if party.ref in trusting}
    fails = "its OpenSSL peers fail" if Stack.OPENSSL in stacks else "OpenSSL peers would fail"
    consequence = "only key identifiers tell them apart" if told_apart else fails
    return found(
        SAME_SUBJECT,
        subject,
        f"{some_names(tuple(refs))} trust {len(alike)} CAs of this subject: {consequence}",
        severity=Severity.WARNING if told_apart else Severity.ERROR,
    )


def _told_apart(context: RuleContext, alike: list[Certificate]) -> bool:
    """Say whether key identifiers tell CAs of one subject apart, in every leaf that is used."""
    identifiers = [certificate.subject_key_id for certificate in alike]
    if "" in identifiers or len(set(identifiers)) < len(identifiers):
        return False
    return all(
        leaf.authority_key_id
        for party in context.parties
        for leaf in context.certificates(party.endpoint.presents[:1])
        if leaf.issuer_name == alike[0].subject
    )


def _bundles(context: RuleContext) -> dict[Bundle, list[EndpointRef]]:
    bundles: dict[Bundle, list[EndpointRef]] = {}
    for party in context.parties:
        if party.endpoint.trusts:
            bundles.setdefault(party.endpoint.trusts, []).append(party.ref)
    return bundles


def unused(context: RuleContext) -> Iterator[Finding]:
    """Yield the CAs in bundles that are of no authority and that nobody presents."""
    ours = {version for authority in context.fleet.authorities for version in authority.versions}
    # By name: of a chain from elsewhere the certificate of its issuer need not be known.
    issuing = {
        certificate.issuer_name
        for party in context.parties
        for certificate in context.certificates(party.endpoint.presents)
    }
    for fingerprint, refs in context.trusted.items():
        certificate = context.certificate(fingerprint)
        foreign = fingerprint not in ours and fingerprint != SYSTEM_ROOTS
        if certificate is not None and foreign and certificate.subject not in issuing:
            yield found(
                UNUSED,
                context.label(fingerprint),
                f"{some_names(refs)} trust it, nobody presents a certificate from it",
            )


def no_key(context: RuleContext) -> Iterator[Finding]:
    """Yield the CA versions in use whose private key is not here."""
    for fingerprint, count in context.presented.items():
        if fingerprint not in context.knowledge.keys:
            authority = next(
                authority
                for authority in context.fleet.authorities
                if fingerprint in authority.versions
            )
            yield found(
                NO_KEY,
                context.label(fingerprint),
                f"{count} endpoints present its certificates, its key is not here: no "
                "cross-signing, no new leaves from it in a rollback",
                remedy=f"`rollover authority import {authority.name} --certificate FILE --key "
                "FILE` brings it in",
            )


def mixed(context: RuleContext) -> Iterator[Finding]:
    """Yield the authorities of which two versions are presented, and unconfirmed instances."""
    for authority in context.fleet.authorities:
        counts = _counts(context, authority)
        if len(counts) > 1:
            shown = ", ".join(
                f"{count} present {authority.label(version)}" for version, count in counts.items()
            )
            yield found(MIXED, authority.name, f"of its endpoints {shown}")
    for instance in context.fleet.instances():
        if instance.may_be:
            yield found(MIXED, instance.name, describe_doubt(instance))


def describe_doubt(instance: Instance) -> str:
    """Return why an instance may be in several states; empty where it can be in one only."""
    if not instance.may_be:
        return ""
    if any(
        endpoint.source is not None or endpoint.role is Role.SOURCE
        for endpoint in instance.endpoints
    ):
        states = 1 + len(instance.may_be)
        return f"it may be in {states} states: which of them cannot be told from what is seen"
    return "its files differ from what it uses: a reload or a restart would change it"


def _counts(context: RuleContext, authority: Authority) -> dict[Fingerprint, int]:
    return {
        version: context.presented[version]
        for version in authority.versions
        if version in context.presented
    }


TRUST_CHECKS = (
    (SAME_SUBJECT, same_subject),
    (UNUSED, unused),
    (NO_KEY, no_key),
    (MIXED, mixed),
)
