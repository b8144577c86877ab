"""Rules over dates: of every chain in use, and of the CAs above it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.checks.scene import Party, Scene
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId

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


def expired(context: Scene) -> Iterator[Finding]:
    """Yield the chains of which a certificate has expired."""
    for party, last in _ends(context):
        if last.not_after < context.now:
            ago = _days(context.now - last.not_after)
            yield found(EXPIRED, str(party.ref), f"{_name(context, last)} expired {ago} ago")


def expires_soon(context: Scene) -> Iterator[Finding]:
    """Yield the chains that end within the time asked for."""
    within = context.knowledge.expires_within
    for party, last in _ends(context):
        left = last.not_after - context.now
        if timedelta() <= left < within:
            yield found(
                EXPIRES_SOON, str(party.ref), f"{_name(context, last)} expires in {_days(left)}"
            )


def not_yet_valid(context: Scene) -> Iterator[Finding]:
    """Yield the certificates, presented or trusted, that are valid only later."""
    for party in context.parties:
        endpoint = party.endpoint
        in_use = (
            *context.whole_chain(endpoint.presents),
            *context.certificates(endpoint.trusts or ()),
        )
        for each in dict.fromkeys(in_use):
            if each.not_before > context.now:
                begins = f"{each.not_before:%Y-%m-%d %H:%M:%S} UTC"
                yield found(
                    NOT_YET_VALID, str(party.ref), f"{_name(context, each)} is valid from {begins}"
                )


def margin(context: Scene) -> Iterator[Finding]:
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


def outlives(context: Scene) -> Iterator[Finding]:
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


def _ends(context: Scene) -> Iterator[tuple[Party, Certificate]]:
    """Yield each endpoint that presents a chain, and the certificate of it that ends first."""
    for party in context.parties:
        chain = context.whole_chain(party.endpoint.presents)
        if chain:
            yield party, min(chain, key=lambda each: each.not_after)


def _name(context: Scene, certificate: Certificate) -> str:
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
