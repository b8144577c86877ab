"""Rules over chains: dates, order, the shape of their CAs, usages, and who accepts them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from nats_config.tls import ALWAYS_VERIFIED, TlsContext
from rollover.fleet.certificate import Certificate, Fault, FaultKind, Stack, Usage
from rollover.fleet.names import Fingerprint, RuleId
from rollover.pki.certificate import is_public
from rollover.pki.names import covers
from rollover.platforms.nats.rules.context import (
    CLIENT_FACING,
    ConfigContext,
    UsedBlock,
    faults_of,
    issued,
)
from rollover.rules.rule import Finding, Rule, Severity, found

# Which certificates come from public CAs: by what they say, and by whom they name.

_ROOTS = (
    "Let's Encrypt",
    "Internet Security Research Group",
    "ISRG",
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
"""Public issuers by name: a root says nothing else of itself, nor do older intermediates."""

_ORGANIZATION = re.compile(r"(?:^|,)O=((?:[^,\\]|\\.)+)")


def public_issuer(certificate: Certificate) -> str:
    """Return the name of the public issuer of a certificate; empty when it has none."""
    organization = _organization(certificate.issuer_name)
    named = _listed(organization)
    return named or (organization or certificate.issuer_name if is_public(certificate) else "")


def public_cas(configs: ConfigContext) -> frozenset[Fingerprint]:
    """Return the CAs that are public: by name, by what they say, or by what they issued."""
    seen = {
        certificate.fingerprint
        for certificate in configs.known.values()
        if (certificate.is_ca and _listed(_organization(certificate.subject)))
        or is_public(certificate)
    }
    open_ends = list(seen)
    while open_ends:
        for issuer in configs.issuers(configs.known[open_ends.pop()]):
            if issuer.fingerprint not in seen:
                seen.add(issuer.fingerprint)
                open_ends.append(issuer.fingerprint)
    return frozenset(fingerprint for fingerprint in seen if configs.known[fingerprint].is_ca)


def _organization(name: str) -> str:
    found = _ORGANIZATION.search(name)
    return found.group(1).replace("\\", "") if found else ""


def _listed(organization: str) -> str:
    return next((name for name in _ROOTS if organization.startswith(name)), "")


# Chains: valid, complete, in order.

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
"""Blocks of which both ends are nats-servers of the operator's own."""
_TWO_DAYS = timedelta(days=2)


def presented(configs: ConfigContext) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...]]]:
    """Yield every block that presents a chain, with it."""
    for used in configs.used:
        chain = configs.chain(used.block)
        if chain:
            yield used, chain


def certificate_place(used: UsedBlock) -> str:
    """Return where the certificate of a block is named."""
    return str(used.block.certificates[0].cert_file.place)


def expired(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that have ended."""
    for used, chain in presented(configs):
        last = min(configs.path(chain), key=lambda certificate: certificate.not_after)
        if last.not_after < configs.now:
            message = f"`{last.subject}` expired on {last.not_after:%Y-%m-%d %H:%MZ}"
            yield found(EXPIRED, used.subject, message, place=certificate_place(used))


def expires_soon(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that end within the time asked for."""
    for used, chain in presented(configs):
        last = min(configs.path(chain), key=lambda certificate: certificate.not_after)
        if configs.now <= last.not_after < configs.now + configs.expires_within:
            days = (last.not_after - configs.now).days
            message = f"`{last.subject}` ends in {days} days, on {last.not_after:%Y-%m-%d}"
            yield found(EXPIRES_SOON, used.subject, message, place=certificate_place(used))


def not_yet(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that have not begun."""
    for used, chain in presented(configs):
        late = max(configs.path(chain), key=lambda certificate: certificate.not_before)
        if late.not_before > configs.now:
            message = f"`{late.subject}` is valid from {late.not_before:%Y-%m-%d %H:%MZ} on"
            yield found(NOT_YET, used.subject, message, place=certificate_place(used))


def outlives(configs: ConfigContext) -> Iterator[Finding]:
    """Yield leaves that end after their CA."""
    for used, chain in presented(configs):
        above = configs.path(chain)[1:]
        first = min(above, key=lambda certificate: certificate.not_after, default=None)
        if first is not None and first.not_after < chain[0].not_after:
            message = (
                f"it ends on {chain[0].not_after:%Y-%m-%d}, `{first.subject}` above it on "
                f"{first.not_after:%Y-%m-%d}"
            )
            yield found(OUTLIVES, used.subject, message, place=certificate_place(used))


def short(configs: ConfigContext) -> Iterator[Finding]:
    """Yield leaves whose whole life is shorter than a rotation may take."""
    for used, chain in presented(configs):
        life = chain[0].not_after - chain[0].not_before
        if life < _TWO_DAYS:
            hours = life.total_seconds() / 3600
            message = f"`{chain[0].subject}` lives {hours:.0f} hours in all"
            yield found(SHORT, used.subject, message, place=certificate_place(used))


def incomplete(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains whose last issuer is an intermediate that peers have to have by chance.

    An issuer that no file here holds may be a private root: only public ones are known to sign
    with intermediates.
    """
    for used, chain in presented(configs):
        last = chain[-1]
        issuers = configs.issuers(last)
        missing = not last.self_signed and not any(issuer.self_signed for issuer in issuers)
        known = bool(issuers) or (len(chain) == 1 and bool(public_issuer(last)))
        # Between servers an intermediate may be what everybody trusts.
        trusted = {certificate.fingerprint for certificate in configs.bundle(used.block)}
        shared = used.block.context in BETWEEN and any(
            issuer.fingerprint in trusted for issuer in issuers
        )
        served = any(issued(last, certificate) for certificate in chain)
        if missing and known and not shared and not served:
            message = f"the issuer of `{last.subject}`, `{last.issuer_name}`, is not in the file"
            yield found(INCOMPLETE, used.subject, message, place=certificate_place(used))


def disordered(configs: ConfigContext) -> Iterator[Finding]:
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


# CAs and keys: strong, signed with hashes that hold, and CAs that say so.

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
_WEAK_CURVES = frozenset(("secp192r1", "secp224r1", "secp160r1"))
_LEAST_RSA = 2048
_WEAK_HASHES = frozenset(("md5", "sha1"))


def weak_key(configs: ConfigContext) -> Iterator[Finding]:
    """Yield certificates with weak keys."""
    for facts, certificate in configs.all_certificates():
        if _is_weak(certificate):
            message = f"its key is {certificate.key}"
            yield found(WEAK_KEY, certificate.subject, message, place=facts.path)


def _is_weak(certificate: Certificate) -> bool:
    kind, _, bits = certificate.key.partition("-")
    short = kind == "rsa" and bits.isdigit() and int(bits) < _LEAST_RSA
    return short or certificate.key in _WEAK_CURVES


def _weakly_signed(certificate: Certificate) -> bool:
    # Nobody verifies the signature of a root: it is trusted as it stands (RFC 5280 §6.1).
    return certificate.signature in _WEAK_HASHES and not certificate.self_signed


def _malformed(certificate: Certificate) -> str:
    """Return why a certificate may not issue others; empty when it may."""
    usages = certificate.key_usages
    if not certificate.is_ca:
        return "it issues certificates, and has no basic constraints that allow it"
    if usages is not None and "key_cert_sign" not in usages:
        return "its key usage does not allow to sign certificates"
    return ""


def weak_signature(configs: ConfigContext) -> Iterator[Finding]:
    """Yield certificates with weak signatures."""
    for facts, certificate in configs.all_certificates():
        if _weakly_signed(certificate):
            message = f"it is signed with {certificate.signature}"
            yield found(WEAK_SIGNATURE, certificate.subject, message, place=facts.path)


def _authorities(configs: ConfigContext) -> Iterator[tuple[str, Certificate]]:
    """Yield every certificate that says it is a CA, or that issued another one all the same."""
    issuers = {
        issuer.fingerprint
        for certificate in configs.known.values()
        for issuer in configs.issuers(certificate)
    }
    seen: set[str] = set()
    for facts, certificate in configs.all_certificates():
        issues = certificate.is_ca or certificate.fingerprint in issuers
        if issues and certificate.fingerprint not in seen:
            seen.add(certificate.fingerprint)
            yield facts.path, certificate


def ca_shape(configs: ConfigContext) -> Iterator[Finding]:
    """Yield CAs that do not say so."""
    for path, authority in _authorities(configs):
        message = _malformed(authority)
        if message:
            yield found(CA_SHAPE, authority.subject, message, place=path)


def no_key_usage(configs: ConfigContext) -> Iterator[Finding]:
    """Yield CAs without a key usage."""
    for path, authority in _authorities(configs):
        if authority.is_ca and authority.key_usages is None:
            message = "it has no key usage extension"
            yield found(NO_KEY_USAGE, authority.subject, message, place=path)


def said_elsewhere(path: tuple[Certificate, ...]) -> bool:
    """Say whether a rule above tells of a certificate of a path already."""
    return any(_is_weak(certificate) or _weakly_signed(certificate) for certificate in path) or any(
        _malformed(certificate) for certificate in path[1:]
    )


AUTHORITY_CHECKS = (
    (WEAK_KEY, weak_key),
    (WEAK_SIGNATURE, weak_signature),
    (CA_SHAPE, ca_shape),
    (NO_KEY_USAGE, no_key_usage),
)


# What a certificate is for: usages by role, names, public issuers, several of them.

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
    meaning="A chain with which servers dial comes from a public CA, by its policy, its log "
    "timestamps or its issuer's name. Public CAs end client authentication in certificates and "
    "intermediates.",
    why="A renewal then has `serverAuth` only: gateways become one-way at their next reconnect.",
    example="Let's Encrypt, from 2026 on.",
    remedy="Use a CA of your own between servers, or a `tls` block with a client certificate in "
    "each gateway remote.",
    source="Chrome Root Program 1.6; Let's Encrypt, ending TLS client authentication; CA/Browser "
    "Forum Baseline Requirements §7.1.6.1; RFC 6962",
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
_DIALING = BETWEEN | {TlsContext.LEAF_REMOTE}


def _lacking(path: Sequence[Certificate], usage: str) -> Certificate | None:
    """Return the first certificate of a path that does not allow a usage."""
    for certificate in path:
        usages = certificate.extended_key_usages
        if usages is not None and usage not in usages and "any" not in usages:
            return certificate
    return None


def both_ways(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains between servers that work in one direction only."""
    for used, chain in presented(configs):
        if used.block.context not in ALWAYS_VERIFIED:
            continue
        for usage in ("server_auth", "client_auth"):
            lacking = _lacking(configs.path(chain), usage)
            if lacking is None:
                continue
            message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
            severity = None
            if usage == "client_auth" and _remotes_present_their_own(used):
                message += ": every remote named here has a certificate of its own, gateways "
                message += "that are found by gossip are dialled with this one"
                severity = Severity.WARNING
            yield found(
                BOTH_WAYS, used.subject, message, place=certificate_place(used), severity=severity
            )


def _remotes_present_their_own(used: UsedBlock) -> bool:
    """Say whether a gateway dials every remote that it names with another certificate."""
    config = used.server.config
    remotes = [gateway for gateway in config.gateways if gateway.name != config.gateway_name]
    own = all(remote.tls is not None and remote.tls.certificates for remote in remotes)
    return used.block.context is TlsContext.GATEWAY and bool(remotes) and own


def one_way(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that are used in a direction that they are not for."""
    for used, chain in presented(configs):
        context = used.block.context
        if context in ALWAYS_VERIFIED:
            continue
        usage = "server_auth" if context.accepts else "client_auth"
        lacking = _lacking(configs.path(chain), usage)
        if lacking is not None:
            message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
            yield found(ONE_WAY, used.subject, message, place=certificate_place(used))


def publicly_issued(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that servers dial with and that come from a public issuer."""
    for used, chain in presented(configs):
        issuer = next((name for certificate in chain if (name := public_issuer(certificate))), "")
        if used.block.context in _DIALING and issuer:
            message = f"the chain comes from {issuer}"
            yield found(PUBLIC_ISSUER, used.subject, message, place=certificate_place(used))


def no_names(configs: ConfigContext) -> Iterator[Finding]:
    """Yield server certificates without names."""
    for used, chain in presented(configs):
        if used.block.context.accepts and not chain[0].names:
            only = ", and Go ignores its common name" if "CN=" in chain[0].subject else ""
            message = f"`{chain[0].subject}` has no subject alternative name{only}"
            yield found(NO_NAMES, used.subject, message, place=certificate_place(used))


def second_unseen(configs: ConfigContext) -> Iterator[Finding]:
    """Yield blocks that list certificates which no peer will see.

    Go takes the first that suits the peer: another kind of key or other names have their turn.
    """
    for used, chain in presented(configs):
        block = used.block
        others = [configs.certificates(pair.cert_file) for pair in block.certificates[1:]]
        hidden = [other for other in others if other and _hides(chain[0], other[0])]
        if hidden and block.context.accepts:
            message = f"presents `{chain[0].subject}` to everybody, never `{hidden[0][0].subject}`"
            yield found(SECOND_UNSEEN, used.subject, message, place=used.place("certs"))


def _hides(first: Certificate, other: Certificate) -> bool:
    same_kind = first.key.partition("-")[0] == other.key.partition("-")[0]
    return same_kind and all(covers(first.names, name) for name in other.names)


ROLE_CHECKS = (
    (BOTH_WAYS, both_ways),
    (ONE_WAY, one_way),
    (PUBLIC_ISSUER, publicly_issued),
    (NO_NAMES, no_names),
    (SECOND_UNSEEN, second_unseen),
)


# Chains as a whole: what Go and OpenSSL say of each below its own root.

CONSTRAINED = Rule(
    id=RuleId("chain-against-constraints"),
    severity=Severity.ERROR,
    title="Chains keep within what their CAs may issue",
    meaning="A CA above the leaf does not allow it: name constraints, a path length, or a critical "
    "extension that nobody understands.",
    why="Every peer that verifies refuses the chain, whichever of its CAs it trusts.",
    example="A leaf for `nats.acme.example` below a CA whose name constraints permit "
    "`internal.example` only.",
    remedy="Issue it from a CA that may, or with names that the CA permits.",
    source="RFC 5280 §4.2.1.9, §4.2.1.10; measured on 58 chains",
)
OPENSSL = Rule(
    id=RuleId("chain-refused-by-openssl"),
    severity=Severity.WARNING,
    title="Clients on OpenSSL accept the chain that is served",
    meaning="nats-server and other Go programs accept the chain of a client port below its own "
    "root, and OpenSSL does not: key identifiers that do not fit, a usage `any`, a key usage.",
    why="Clients in Python, Ruby, C or C++ fail with `certificate verify failed`; those in Go "
    "connect, and hide it.",
    example="The leaf's authority key identifier is not its CA's subject key identifier.",
    remedy="Issue the leaf anew: `rollover issue --for server` writes what both accept.",
    source="Measured: 29 of 116 verdicts differ between nats-server and OpenSSL 3",
)
_TOLD = frozenset((FaultKind.EXPIRED, FaultKind.NOT_YET_VALID))


def _below_roots(
    configs: ConfigContext,
) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...], Certificate]]:
    """Yield chains whose root stands in some file, where no other rule says what is wrong."""
    for used, chain in presented(configs):
        path = configs.path(chain)
        if len(path) > 1 and path[-1].self_signed and not said_elsewhere(path):
            yield used, chain, path[-1]


def _faults(
    configs: ConfigContext,
    used: UsedBlock,
    chain: tuple[Certificate, ...],
    root: Certificate,
    stack: Stack,
) -> tuple[Fault, ...]:
    usage = Usage.SERVER if used.block.context.accepts else Usage.CLIENT
    # The path may lead over intermediates that peers have, and the chain has not.
    served = tuple(dict.fromkeys((*chain, *configs.path(chain)[1:-1])))
    faults = faults_of(configs, served, (root,), usage=usage, stack=stack, presenter=Stack.OPENSSL)
    return tuple(fault for fault in faults if fault.kind not in _TOLD)


def constrained(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains that break a constraint of a CA above them."""
    for used, chain, root in _below_roots(configs):
        faults = _faults(configs, used, chain, root, Stack.GO)
        details = [fault.detail for fault in faults if fault.kind is FaultKind.CONSTRAINT]
        if details:
            place = certificate_place(used)
            yield found(CONSTRAINED, used.subject, "; ".join(details), place=place)


def openssl(configs: ConfigContext) -> Iterator[Finding]:
    """Yield chains of client ports that Go accepts and OpenSSL does not."""
    for used, chain, root in _below_roots(configs):
        if used.block.context not in CLIENT_FACING or _faults(configs, used, chain, root, Stack.GO):
            continue
        faults = _faults(configs, used, chain, root, Stack.OPENSSL)
        if faults:
            place = certificate_place(used)
            yield found(OPENSSL, used.subject, faults[0].detail, place=place)


VERDICT_CHECKS = ((CONSTRAINED, constrained), (OPENSSL, openssl))
