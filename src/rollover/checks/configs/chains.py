"""Rules over chains: complete, in order, strong, valid, for both directions, with names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import timedelta

from rollover.checks.configs.scene import ConfigScene, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, FaultKind, Question, Stack, Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import FORCED
from rollover.pki.anatomy import anatomy
from rollover.pki.signatures import Signed, check

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
    meaning="The issuer of the last certificate is neither served nor trusted by the same block.",
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
BOTH_WAYS = Rule(
    id=RuleId("usage-not-both-ways"),
    severity=Severity.ERROR,
    title="Routes and gateways have certificates for both directions",
    meaning="A certificate between servers, or a CA above it, lacks server or client "
    "authentication.",
    why="A route works as long as the other side dials; a gateway works one way only.",
    example="A public certificate after June 2026: `serverAuth` only.",
    remedy="Issue it with both; or give each gateway remote a `tls` block with a client "
    "certificate.",
    source="RFC 5280 §4.2.1.12; measured on routes and gateways",
)
ONE_WAY = Rule(
    id=RuleId("usage-wrong-way"),
    severity=Severity.ERROR,
    title="Certificates may be used for what they are used for",
    meaning="A port presents a certificate without server authentication, or a remote one without "
    "client authentication.",
    why="Every peer refuses it.",
    example="A leaf node's client certificate used on a client port.",
    remedy="Issue it for the role: `rollover issue --for …`.",
    source="RFC 5280 §4.2.1.12; measured",
)
PUBLIC_ISSUER = Rule(
    id=RuleId("public-issuer-drops-client-auth"),
    severity=Severity.WARNING,
    title="Peers do not depend on client authentication by public CAs",
    meaning="The chain comes from a public issuer that ends client authentication in its "
    "certificates or intermediates.",
    why="The next renewal has `serverAuth` only: gateways become one-way at their next reconnect.",
    example="Let's Encrypt, from 2026 on.",
    remedy="Use a CA of your own between servers, or a `tls` block with a client certificate in "
    "each gateway remote.",
    source="Chrome Root Program 1.6; Let's Encrypt, ending TLS client authentication",
)
NO_NAMES = Rule(
    id=RuleId("names-missing"),
    severity=Severity.ERROR,
    title="Server certificates have subject alternative names",
    meaning="A certificate that servers are dialled with has no DNS name and no IP address; "
    "perhaps a common name.",
    why="Go refuses it: `certificate relies on legacy Common Name field`.",
    example="`openssl req -subj /CN=nats.example.com` without `-addext`.",
    remedy="Issue it with the names as subject alternative names.",
    source="RFC 6125 §6.4.4, RFC 9525 §6; measured",
)
WRONG_NAME = Rule(
    id=RuleId("name-not-in-certificate"),
    severity=Severity.ERROR,
    title="Addresses that are dialled stand in the certificates",
    meaning="A URL of one configuration, or an advertised address, is not among the names of the "
    "server that listens there.",
    why="The dialer refuses it; routes in the other direction hide that until a restart.",
    example="`routes: [nats-route://10.0.0.2:6222]`, and the certificate has DNS names only.",
    remedy="Issue it with that name or address too.",
    source="RFC 9525 §6; measured",
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
SECOND_UNSEEN = Rule(
    id=RuleId("second-certificate-unseen"),
    severity=Severity.WARNING,
    title="Every certificate of a block is presented",
    meaning="`certs` lists more than one: as a server nats-server presents the first one only.",
    why="Peers that trust only the CA of the second are refused.",
    example="`certs: [old, new]` as a bridge: it works for dialers, not for listeners.",
    remedy="Put the one that peers trust first.",
    source="Measured on nats-server 2.15",
)

_PUBLIC = ("Let's Encrypt", "Google Trust Services", "Sectigo", "DigiCert", "ZeroSSL", "GoDaddy")
_WEAK_KEYS = frozenset(("rsa-512", "rsa-768", "rsa-1024", "p-192", "p-224"))
_WEAK_HASHES = frozenset(("md5", "sha1"))
_TWO_DAYS = timedelta(days=2)


def _chains(scene: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    for used in scene.used:
        chain = scene.chain(used.block)
        if chain:
            yield used, chain


def _with_issuer(scene: ConfigScene, chain: tuple[Certificate, ...]) -> list[Certificate]:
    """Return a chain with the CAs above it, as far as any file holds them."""
    path = list(chain)
    while not path[-1].self_signed:
        issuer = next(
            (each for each in scene.known.values() if _issued(path[-1], each) and each not in path),
            None,
        )
        if issuer is None:
            break
        path.append(issuer)
    return path


def _issued(child: Certificate, parent: Certificate) -> bool:
    same_name = anatomy(child).raw_issuer == anatomy(parent).raw_subject
    return same_name and check(anatomy(child), by=anatomy(parent)) is Signed.GOOD


def _place(used: Used) -> str:
    return str(used.block.certificates[0].cert_file.place)


def expired(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have ended."""
    for used, chain in _chains(scene):
        last = min(_with_issuer(scene, chain), key=lambda each: each.not_after)
        if last.not_after < scene.now:
            message = f"`{last.subject}` expired on {last.not_after:%Y-%m-%d %H:%MZ}"
            yield found(EXPIRED, used.subject, message, place=_place(used))


def expires_soon(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that end within the time asked for."""
    for used, chain in _chains(scene):
        last = min(_with_issuer(scene, chain), key=lambda each: each.not_after)
        if scene.now <= last.not_after < scene.now + scene.expires_within:
            days = (last.not_after - scene.now).days
            message = f"`{last.subject}` ends in {days} days, on {last.not_after:%Y-%m-%d}"
            yield found(EXPIRES_SOON, used.subject, message, place=_place(used))


def not_yet(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that have not begun."""
    for used, chain in _chains(scene):
        late = max(_with_issuer(scene, chain), key=lambda each: each.not_before)
        if late.not_before > scene.now:
            message = f"`{late.subject}` is valid from {late.not_before:%Y-%m-%d %H:%MZ} on"
            yield found(NOT_YET, used.subject, message, place=_place(used))


def outlives(scene: ConfigScene) -> Iterator[Finding]:
    """Yield leaves that end after their CA."""
    for used, chain in _chains(scene):
        above = _with_issuer(scene, chain)[1:]
        first = min(above, key=lambda each: each.not_after, default=None)
        if first is not None and first.not_after < chain[0].not_after:
            message = (
                f"it ends on {chain[0].not_after:%Y-%m-%d}, `{first.subject}` above it on "
                f"{first.not_after:%Y-%m-%d}"
            )
            yield found(OUTLIVES, used.subject, message, place=_place(used))


def short(scene: ConfigScene) -> Iterator[Finding]:
    """Yield leaves whose whole life is shorter than a rotation may take."""
    for used, chain in _chains(scene):
        life = chain[0].not_after - chain[0].not_before
        if life < _TWO_DAYS:
            hours = life.total_seconds() / 3600
            message = f"`{chain[0].subject}` lives {hours:.0f} hours in all"
            yield found(SHORT, used.subject, message, place=_place(used))


def incomplete(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains whose last issuer is nowhere near."""
    for used, chain in _chains(scene):
        last = chain[-1]
        trusted = scene.bundle(used.block)
        known = any(_issued(last, each) for each in (*chain, *trusted))
        if not known and not last.self_signed and _intermediate_missing(scene, last):
            message = f"the issuer of `{last.subject}`, `{last.issuer}`, is not in the file"
            yield found(INCOMPLETE, used.subject, message, place=_place(used))


def _intermediate_missing(scene: ConfigScene, last: Certificate) -> bool:
    """Say whether the issuer is known to be an intermediate, or not known at all."""
    issuers = [each for each in scene.known.values() if _issued(last, each)]
    return not any(each.self_signed for each in issuers)


def disordered(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that peers have to sort."""
    for used, chain in _chains(scene):
        for child, parent in itertools.pairwise(chain):
            if not _issued(child, parent):
                message = (
                    f"`{parent.subject}` stands behind `{child.subject}`, which it did not issue"
                )
                yield found(DISORDERED, used.subject, message, place=_place(used))
                break


def _lacking(path: Sequence[Certificate], usage: str) -> Certificate | None:
    """Return the first certificate of a path that does not allow a usage."""
    for each in path:
        usages = each.extended_key_usages
        if usages is not None and usage not in usages and "any" not in usages:
            return each
    return None


def both_ways(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains between servers that work in one direction only."""
    for used, chain in _chains(scene):
        if used.block.context not in FORCED:
            continue
        for usage in ("server_auth", "client_auth"):
            lacking = _lacking(_with_issuer(scene, chain), usage)
            if lacking is not None:
                message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
                yield found(BOTH_WAYS, used.subject, message, place=_place(used))


def one_way(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains that are used in a direction that they are not for."""
    for used, chain in _chains(scene):
        context = used.block.context
        if context in FORCED:
            continue
        usage = "server_auth" if context.accepts else "client_auth"
        lacking = _lacking(_with_issuer(scene, chain), usage)
        if lacking is not None:
            message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
            yield found(ONE_WAY, used.subject, message, place=_place(used))


def public_issuer(scene: ConfigScene) -> Iterator[Finding]:
    """Yield chains between servers that come from a public issuer."""
    for used, chain in _chains(scene):
        names = " ".join(each.issuer for each in chain)
        issuer = next((each for each in _PUBLIC if each in names), None)
        if used.block.context in FORCED and issuer is not None:
            message = f"the chain comes from {issuer}"
            yield found(PUBLIC_ISSUER, used.subject, message, place=_place(used))


def no_names(scene: ConfigScene) -> Iterator[Finding]:
    """Yield server certificates without names."""
    for used, chain in _chains(scene):
        if used.block.context.accepts and not chain[0].names:
            message = f"`{chain[0].subject}` has no subject alternative name"
            yield found(NO_NAMES, used.subject, message, place=_place(used))


def weak_key(scene: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak keys."""
    for facts, each in scene.all_certificates():
        if each.key in _WEAK_KEYS:
            yield found(WEAK_KEY, each.subject, f"its key is {each.key}", place=facts.path)


def weak_signature(scene: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak signatures."""
    for facts, each in scene.all_certificates():
        if each.signature in _WEAK_HASHES and not each.self_signed:
            message = f"it is signed with {each.signature}"
            yield found(WEAK_SIGNATURE, each.subject, message, place=facts.path)


def _authorities(scene: ConfigScene) -> Iterator[tuple[str, Certificate]]:
    """Yield every certificate that issued another one, or that a block trusts."""
    issuers = {each.issuer for each in scene.known.values() if not each.self_signed}
    seen: set[str] = set()
    for facts, each in scene.all_certificates():
        if each.fingerprint not in seen and (each.subject in issuers or each.is_ca):
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


def second_unseen(scene: ConfigScene) -> Iterator[Finding]:
    """Yield blocks that list certificates which no peer will see."""
    for used in scene.used:
        if len(used.block.certificates) > 1 and used.block.context.accepts:
            count = len(used.block.certificates)
            message = f"presents the first of {count} certificates"
            yield found(SECOND_UNSEEN, used.subject, message, place=used.place("certs"))


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
    (BOTH_WAYS, both_ways),
    (ONE_WAY, one_way),
    (PUBLIC_ISSUER, public_issuer),
    (NO_NAMES, no_names),
    (WEAK_KEY, weak_key),
    (WEAK_SIGNATURE, weak_signature),
    (CA_SHAPE, ca_shape),
    (NO_KEY_USAGE, no_key_usage),
    (SECOND_UNSEEN, second_unseen),
)
