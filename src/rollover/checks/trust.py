"""Rules over bundles: which CAs are trusted, which are used, and which can be worked with here."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.checks.scene import Scene, named
from rollover.fleet.certificate import Bundle, Certificate, Stack
from rollover.fleet.model import Authority, EndpointRef, Instance, Role
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, RuleId

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


def same_subject(context: Scene) -> Iterator[Finding]:
    """Yield the CAs that share a subject in a bundle; a warning where key identifiers help."""
    for bundle, refs in _bundles(context).items():
        by_subject: dict[str, list[Certificate]] = {}
        for each in context.certificates(bundle):
            by_subject.setdefault(each.subject, []).append(each)
        for subject, alike in by_subject.items():
            if len({each.key_identity or each.fingerprint for each in alike}) > 1:
                yield _same_subject(context, subject, alike, refs)


def _same_subject(
    context: Scene, subject: str, alike: list[Certificate], refs: list[EndpointRef]
) -> Finding:
    told_apart = _told_apart(context, alike)
    trusting = set(refs)
    stacks = {party.endpoint.stack for party in context.parties if party.ref in trusting}
    fails = "its OpenSSL peers fail" if Stack.OPENSSL in stacks else "OpenSSL peers would fail"
    consequence = "only key identifiers tell them apart" if told_apart else fails
    return found(
        SAME_SUBJECT,
        subject,
        f"{named(tuple(refs))} trust {len(alike)} CAs of this subject: {consequence}",
        severity=Severity.WARNING if told_apart else Severity.ERROR,
    )


def _told_apart(context: Scene, alike: list[Certificate]) -> bool:
    """Say whether key identifiers tell CAs of one subject apart, in every leaf that is used."""
    identifiers = [each.subject_key_id for each in alike]
    if "" in identifiers or len(set(identifiers)) < len(identifiers):
        return False
    return all(
        leaf.authority_key_id
        for party in context.parties
        for leaf in context.certificates(party.endpoint.presents[:1])
        if leaf.issuer == alike[0].subject
    )


def _bundles(context: Scene) -> dict[Bundle, list[EndpointRef]]:
    bundles: dict[Bundle, list[EndpointRef]] = {}
    for party in context.parties:
        if party.endpoint.trusts:
            bundles.setdefault(party.endpoint.trusts, []).append(party.ref)
    return bundles


def unused(context: Scene) -> Iterator[Finding]:
    """Yield the CAs in bundles that are of no authority and that nobody presents."""
    ours = {each for authority in context.fleet.authorities for each in authority.versions}
    issuing = {
        each.issuer
        for party in context.parties
        for each in context.certificates(party.endpoint.presents)
    }
    for fingerprint, refs in context.trusted.items():
        certificate = context.certificate(fingerprint)
        foreign = fingerprint not in ours and fingerprint != SYSTEM_ROOTS
        if certificate is not None and foreign and certificate.subject not in issuing:
            yield found(
                UNUSED,
                context.label(fingerprint),
                f"{named(refs)} trust it, nobody presents a certificate from it",
            )


def no_key(context: Scene) -> Iterator[Finding]:
    """Yield the CA versions in use whose private key is not here."""
    for fingerprint, count in context.presented.items():
        if fingerprint not in context.knowledge.keys:
            authority = next(
                each for each in context.fleet.authorities if fingerprint in each.versions
            )
            yield found(
                NO_KEY,
                context.label(fingerprint),
                f"{count} endpoints present its certificates, its key is not here: no "
                "cross-signing, no new leaves from it in a rollback",
                remedy=f"`rollover authority import {authority.name} --certificate FILE --key "
                "FILE` brings it in",
            )


def mixed(context: Scene) -> Iterator[Finding]:
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
            yield found(MIXED, instance.name, doubt(instance))


def doubt(instance: Instance) -> str:
    """Return why an instance may be in several states; empty where it can be in one only."""
    if not instance.may_be:
        return ""
    if any(each.source is not None or each.role is Role.SOURCE for each in instance.endpoints):
        states = 1 + len(instance.may_be)
        return f"it may be in {states} states: which of them cannot be told from what is seen"
    return "its files differ from what it uses: a reload or a restart would change it"


def _counts(context: Scene, authority: Authority) -> dict[Fingerprint, int]:
    return {
        version: context.presented[version]
        for version in authority.versions
        if version in context.presented
    }


CHECKS = (
    (SAME_SUBJECT, same_subject),
    (UNUSED, unused),
    (NO_KEY, no_key),
    (MIXED, mixed),
)
