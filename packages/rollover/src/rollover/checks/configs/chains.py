"""Rules over chains: valid, complete, in order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from nats_config.tls import ALWAYS_VERIFIED, TlsContext
from rollover.checks.configs.public import public_issuer
from rollover.checks.configs.scene import ConfigScene, Used, issued
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId

EXPIRED = Rule(
    id=RuleId("config-expired"),
    severity=Severity.ERROR,
    title="Every chain is valid now",
    meaning="A certificate of a chain, or the CA above it, has expired: the earliest one counts.",
    why="nats-server starts and reloads with it without a word, and every new handshake fails.",
    example="A leaf until 2028 below an intermediate that ended yesterday.",
    remedy="Renew it, and whatever above it ends; then reload.",
    source="RFC 5280 §6.1.3; measured: expired files are accepted with no warning",
)
EXPIRES_SOON = Rule(
    id=RuleId("config-expires-soon"),
    severity=Severity.WARNING,
    title="No chain ends soon",
    meaning="The earliest end of a chain, CAs included, lies within the days asked for.",
    why="A leaf is worth no more than the CA above it.",
    example="A leaf with 200 days left below a CA with 12.",
    remedy="Rotate while everything still works.",
    source="RFC 5280 §6.1.3",
)
NOT_YET = Rule(
    id=RuleId("config-not-yet-valid"),
    severity=Severity.ERROR,
    title="Every chain is valid already",
    meaning="A certificate of a chain begins to be valid later.",
    why="Peers refuse it until then.",
    example="Issued on a machine whose clock is ahead.",
    remedy="Wait, or compare the clocks; back-date certificates by some minutes.",
    source="RFC 5280 §6.1.3; measured",
)
OUTLIVES = Rule(
    id=RuleId("config-leaf-outlives-authority"),
    severity=Severity.WARNING,
    title="No leaf outlives its CA",
    meaning="The last day of a leaf lies after that of its CA.",
    why="Whoever watches the leaf is surprised when the CA ends first.",
    example="BOSH agents: leaf of two years, CA of one.",
    remedy="Watch the CA; issue shorter leaves.",
    source="RFC 5280 §6.1",
)
SHORT = Rule(
    id=RuleId("renewal-window-too-short"),
    severity=Severity.WARNING,
    title="Certificates live longer than a rotation takes",
    meaning="A certificate is valid for less than two days in all.",
    why="A rotation that is stopped for a night finds it expired.",
    example="Leaves of 24 hours, renewed by a pipeline at night.",
    remedy="Issue leaves for a week at least, or rotate with a CA that is trusted beforehand.",
    source="The safety rule: validity at both ends of a step's window",
)
INCOMPLETE = Rule(
    id=RuleId("chain-incomplete"),
    severity=Severity.ERROR,
    title="Chains hold their intermediates",
    meaning="The last certificate of a chain was issued by an intermediate that is not served.",
    why="Peers that do not have it refuse the chain; as a dialer this server then sends no "
    "certificate at all. OpenSSL clients that know the issuer hide it.",
    example="`cert_file` with the leaf alone, issued by an intermediate.",
    remedy="Append the intermediates behind the leaf.",
    source='RFC 8446 §4.4.2; measured: "client didn\'t provide a certificate"',
)
DISORDERED = Rule(
    id=RuleId("chain-out-of-order"),
    severity=Severity.WARNING,
    title="Chains stand in their order",
    meaning="Behind the leaf, a certificate does not certify the one before it.",
    why="Go sorts it out; RFC 5246 stacks and appliances do not.",
    example="leaf, root, intermediate.",
    remedy="Leaf first, then each issuer; leave the root out.",
    source="RFC 8446 §4.4.2, RFC 5246 §7.4.2",
)
BETWEEN = ALWAYS_VERIFIED | {TlsContext.GATEWAY_REMOTE}
_TWO_DAYS = timedelta(days=2)


def presented(configs: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    """Yield every block that presents a chain, with it."""
    for used in configs.used:
        chain = configs.chain(used.block)
        if chain:
            yield used, chain


def certificate_place(used: Used) -> str:
    """Return where the certificate of a block is named."""
    return str(used.block.certificates[0].cert_file.place)


def expired(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have ended."""
    for used, chain in presented(configs):
        last = min(configs.path(chain), key=lambda each: each.not_after)
        if last.not_after < configs.now:
            message = f"`{last.subject}` expired on {last.not_after:%Y-%m-%d %H:%MZ}"
            yield found(EXPIRED, used.subject, message, place=certificate_place(used))


def expires_soon(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that end within the time asked for."""
    for used, chain in presented(configs):
        last = min(configs.path(chain), key=lambda each: each.not_after)
        if configs.now <= last.not_after < configs.now + configs.expires_within:
            days = (last.not_after - configs.now).days
            message = f"`{last.subject}` ends in {days} days, on {last.not_after:%Y-%m-%d}"
            yield found(EXPIRES_SOON, used.subject, message, place=certificate_place(used))


def not_yet(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have not begun."""
    for used, chain in presented(configs):
        late = max(configs.path(chain), key=lambda each: each.not_before)
        if late.not_before > configs.now:
            message = f"`{late.subject}` is valid from {late.not_before:%Y-%m-%d %H:%MZ} on"
            yield found(NOT_YET, used.subject, message, place=certificate_place(used))


def outlives(configs: ConfigScene) -> Iterator[Finding]:
    """Yield leaves that end after their CA."""
    for used, chain in presented(configs):
        above = configs.path(chain)[1:]
        first = min(above, key=lambda each: each.not_after, default=None)
        if first is not None and first.not_after < chain[0].not_after:
            message = (
                f"it ends on {chain[0].not_after:%Y-%m-%d}, `{first.subject}` above it on "
                f"{first.not_after:%Y-%m-%d}"
            )
            yield found(OUTLIVES, used.subject, message, place=certificate_place(used))


def short(configs: ConfigScene) -> Iterator[Finding]:
    """Yield leaves whose whole life is shorter than a rotation may take."""
    for used, chain in presented(configs):
        life = chain[0].not_after - chain[0].not_before
        if life < _TWO_DAYS:
            hours = life.total_seconds() / 3600
            message = f"`{chain[0].subject}` lives {hours:.0f} hours in all"
            yield found(SHORT, used.subject, message, place=certificate_place(used))


def incomplete(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains whose last issuer is an intermediate that peers have to have by chance.

    An issuer that no file here holds may be a private root: only public ones are known to sign
    with intermediates.
    """
    for used, chain in presented(configs):
        last = chain[-1]
        issuers = configs.issuers(last)
        missing = not last.self_signed and not any(each.self_signed for each in issuers)
        known = bool(issuers) or (len(chain) == 1 and bool(public_issuer(last)))
        # Between servers an intermediate may be what everybody trusts.
        trusted = {each.fingerprint for each in configs.bundle(used.block)}
        shared = used.block.context in BETWEEN and any(
            each.fingerprint in trusted for each in issuers
        )
        if missing and known and not shared and not any(issued(last, each) for each in chain):
            message = f"the issuer of `{last.subject}`, `{last.issuer}`, is not in the file"
            yield found(INCOMPLETE, used.subject, message, place=certificate_place(used))


def disordered(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that peers have to sort: a certificate that issued none of those before it."""
    for used, chain in presented(configs):
        for at, parent in enumerate(chain[1:], start=1):
            if not any(issued(child, parent) for child in chain[:at]):
                message = f"`{parent.subject}` issued no certificate that stands before it"
                yield found(DISORDERED, used.subject, message, place=certificate_place(used))
                break


CHECKS = (
    (EXPIRED, expired),
    (EXPIRES_SOON, expires_soon),
    (NOT_YET, not_yet),
    (OUTLIVES, outlives),
    (SHORT, short),
    (INCOMPLETE, incomplete),
    (DISORDERED, disordered),
)
