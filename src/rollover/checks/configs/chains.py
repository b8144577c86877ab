"""Rules over chains: complete, in order, strong, valid, below CAs that say so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollover.checks.configs.scene import ConfigScene, Used, issued
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, FaultKind, Question, Stack, Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import FORCED, TlsContext

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
WEAK_KEY = Rule(
    id=RuleId("weak-key"),
    severity=Severity.ERROR,
    title="Keys are strong enough",
    meaning="An RSA key below 2048 bits, or a curve below 256.",
    why="OpenSSL peers refuse it, and it can be broken.",
    example="A CA from 2009 with 1024 bits.",
    remedy="Rotate to a CA with P-256 or RSA 3072.",
    source="NIST SP 800-57 part 1; RFC 9325 §4.5",
)
WEAK_SIGNATURE = Rule(
    id=RuleId("weak-signature"),
    severity=Severity.ERROR,
    title="Signatures use hashes that hold",
    meaning="A certificate that is not self-signed is signed with SHA-1 or MD5.",
    why="Go and OpenSSL refuse it.",
    example="A leaf from an old Windows CA.",
    remedy="Have the CA sign with SHA-256, and issue it again.",
    source="RFC 9155; measured",
)
CA_SHAPE = Rule(
    id=RuleId("authority-malformed"),
    severity=Severity.ERROR,
    title="CAs say that they are CAs",
    meaning="A certificate that issues others has no basic constraints, or a key usage without "
    "certificate signing.",
    why="Go refuses everything below it.",
    example="A root of version 1, or made with `openssl req -x509` and a server's extensions.",
    remedy="Make a new CA: `rollover authority new`.",
    source="RFC 5280 §4.2.1.9 and §4.2.1.3; measured",
)
NO_KEY_USAGE = Rule(
    id=RuleId("authority-without-key-usage"),
    severity=Severity.WARNING,
    title="CAs have a key usage",
    meaning="A CA has no key usage extension.",
    why="Strict OpenSSL peers (Python from 3.13 on) refuse everything below it.",
    example="A root made by hand.",
    remedy="The next CA has one: rotate to it.",
    source="RFC 5280 §4.2.1.3; measured",
)
_PUBLIC = (
    "Let's Encrypt",
    "Internet Security Research Group",
    "Google Trust Services",
    "Sectigo",
    "DigiCert",
    "ZeroSSL",
    "GoDaddy",
    "Amazon",
    "GlobalSign",
    "Entrust",
    "SSL Corp",
    "Buypass",
    "Actalis",
)
BETWEEN = FORCED | {TlsContext.GATEWAY_REMOTE}
_WEAK_CURVES = frozenset(("secp192r1", "secp224r1", "secp160r1"))
_LEAST_RSA = 2048
_WEAK_HASHES = frozenset(("md5", "sha1"))
_TWO_DAYS = timedelta(days=2)


def presented(scene: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    """Yield every block that presents a chain, with it."""
    for used in scene.used:
        chain = scene.chain(used.block)
        if chain:
            yield used, chain


def certificate_place(used: Used) -> str:
    """Return where the certificate of a block is named."""
    return str(used.block.certificates[0].cert_file.place)


def expired(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have ended."""
    for used, chain in presented(scene):
        last = min(scene.path(chain), key=lambda each: each.not_after)
        if last.not_after < scene.now:
            message = f"`{last.subject}` expired on {last.not_after:%Y-%m-%d %H:%MZ}"
            yield found(EXPIRED, used.subject, message, place=certificate_place(used))


def expires_soon(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that end within the time asked for."""
    for used, chain in presented(scene):
        last = min(scene.path(chain), key=lambda each: each.not_after)
        if scene.now <= last.not_after < scene.now + scene.expires_within:
            days = (last.not_after - scene.now).days
            message = f"`{last.subject}` ends in {days} days, on {last.not_after:%Y-%m-%d}"
            yield found(EXPIRES_SOON, used.subject, message, place=certificate_place(used))


def not_yet(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have not begun."""
    for used, chain in presented(scene):
        late = max(scene.path(chain), key=lambda each: each.not_before)
        if late.not_before > scene.now:
            message = f"`{late.subject}` is valid from {late.not_before:%Y-%m-%d %H:%MZ} on"
            yield found(NOT_YET, used.subject, message, place=certificate_place(used))


def outlives(scene: ConfigScene) -> Iterator[Finding]:
    """Yield leaves that end after their CA."""
    for used, chain in presented(scene):
        above = scene.path(chain)[1:]
        first = min(above, key=lambda each: each.not_after, default=None)
        if first is not None and first.not_after < chain[0].not_after:
            message = (
                f"it ends on {chain[0].not_after:%Y-%m-%d}, `{first.subject}` above it on "
                f"{first.not_after:%Y-%m-%d}"
            )
            yield found(OUTLIVES, used.subject, message, place=certificate_place(used))


def short(scene: ConfigScene) -> Iterator[Finding]:
    """Yield leaves whose whole life is shorter than a rotation may take."""
    for used, chain in presented(scene):
        life = chain[0].not_after - chain[0].not_before
        if life < _TWO_DAYS:
            hours = life.total_seconds() / 3600
            message = f"`{chain[0].subject}` lives {hours:.0f} hours in all"
            yield found(SHORT, used.subject, message, place=certificate_place(used))


def incomplete(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains whose last issuer is an intermediate that peers have to have by chance.

    An issuer that no file here holds may be a private root: only public ones are known to sign
    with intermediates.
    """
    for used, chain in presented(scene):
        last = chain[-1]
        issuers = scene.issuers(last)
        missing = not last.self_signed and not any(each.self_signed for each in issuers)
        known = bool(issuers) or (len(chain) == 1 and bool(public_name(last)))
        # Between servers an intermediate may be what everybody trusts.
        trusted = {each.fingerprint for each in scene.bundle(used.block)}
        shared = used.block.context in BETWEEN and any(
            each.fingerprint in trusted for each in issuers
        )
        if missing and known and not shared and not any(issued(last, each) for each in chain):
            message = f"the issuer of `{last.subject}`, `{last.issuer}`, is not in the file"
            yield found(INCOMPLETE, used.subject, message, place=certificate_place(used))


def disordered(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that peers have to sort: a certificate that issued none of those before it."""
    for used, chain in presented(scene):
        for at, parent in enumerate(chain[1:], start=1):
            if not any(issued(child, parent) for child in chain[:at]):
                message = f"`{parent.subject}` issued no certificate that stands before it"
                yield found(DISORDERED, used.subject, message, place=certificate_place(used))
                break


def public_name(certificate: Certificate) -> str:
    """Return the name of the public issuer of a certificate; empty when it has none."""
    return next((name for name in _PUBLIC if f"O={name}" in certificate.issuer), "")


def public_root(certificate: Certificate) -> str:
    """Return the name of the public issuer that a CA belongs to; empty when there is none."""
    return next((name for name in _PUBLIC if f"O={name}" in certificate.subject), "")


def weak_key(scene: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak keys."""
    for facts, each in scene.all_certificates():
        kind, _, bits = each.key.partition("-")
        short = kind == "rsa" and bits.isdigit() and int(bits) < _LEAST_RSA
        if short or each.key in _WEAK_CURVES:
            yield found(WEAK_KEY, each.subject, f"its key is {each.key}", place=facts.path)


def weak_signature(scene: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak signatures."""
    for facts, each in scene.all_certificates():
        if each.signature in _WEAK_HASHES and not each.self_signed:
            message = f"it is signed with {each.signature}"
            yield found(WEAK_SIGNATURE, each.subject, message, place=facts.path)


def _authorities(scene: ConfigScene) -> Iterator[tuple[str, Certificate]]:
    """Yield every certificate that says it is a CA, or that issued another one all the same."""
    issuers = {each.fingerprint for one in scene.known.values() for each in scene.issuers(one)}
    seen: set[str] = set()
    for facts, each in scene.all_certificates():
        if each.fingerprint not in seen and (each.fingerprint in issuers or each.is_ca):
            seen.add(each.fingerprint)
            yield facts.path, each


def ca_shape(scene: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that do not say so."""
    for path, each in _authorities(scene):
        usages = each.key_usages
        if not each.is_ca:
            message = "it issues certificates, and has no basic constraints that allow it"
        elif usages is not None and "key_cert_sign" not in usages:
            message = "its key usage does not allow to sign certificates"
        else:
            continue
        yield found(CA_SHAPE, each.subject, message, place=path)


def no_key_usage(scene: ConfigScene) -> Iterator[Finding]:
    """Yield CAs without a key usage."""
    for path, each in _authorities(scene):
        if each.is_ca and each.key_usages is None:
            message = "it has no key usage extension"
            yield found(NO_KEY_USAGE, each.subject, message, place=path)


def refused(
    scene: ConfigScene,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
    name: str | None = None,
    stack: Stack = Stack.GO,
) -> str:
    """Return why a party with this bundle refuses a chain; empty when it does not."""
    verdict = scene.accepts(
        Question(
            chain=tuple(each.fingerprint for each in chain),
            bundle=tuple(each.fingerprint for each in bundle),
            instant=scene.now,
            usage=usage,
            stack=stack,
            name=name,
            presenter=Stack.GO,
        )
    )
    faults = [each for each in verdict.faults if each.kind is not FaultKind.EXPIRED]
    return "; ".join(each.detail for each in faults)


CHECKS = (
    (EXPIRED, expired),
    (EXPIRES_SOON, expires_soon),
    (NOT_YET, not_yet),
    (OUTLIVES, outlives),
    (SHORT, short),
    (INCOMPLETE, incomplete),
    (DISORDERED, disordered),
    (WEAK_KEY, weak_key),
    (WEAK_SIGNATURE, weak_signature),
    (CA_SHAPE, ca_shape),
    (NO_KEY_USAGE, no_key_usage),
)
