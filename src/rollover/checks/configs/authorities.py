"""Rules over CAs and keys: strong, signed with hashes that hold, and CAs that say so."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.scene import ConfigScene
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId

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


def weak_key(configs: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak keys."""
    for facts, each in configs.all_certificates():
        if _is_weak(each):
            yield found(WEAK_KEY, each.subject, f"its key is {each.key}", place=facts.path)


def _is_weak(certificate: Certificate) -> bool:
    kind, _, bits = certificate.key.partition("-")
    short = kind == "rsa" and bits.isdigit() and int(bits) < _LEAST_RSA
    return short or certificate.key in _WEAK_CURVES


def _weakly_signed(certificate: Certificate) -> bool:
    return certificate.signature in _WEAK_HASHES and not certificate.self_signed


def _malformed(certificate: Certificate) -> str:
    """Return why a certificate may not issue others; empty when it may."""
    usages = certificate.key_usages
    if not certificate.is_ca:
        return "it issues certificates, and has no basic constraints that allow it"
    if usages is not None and "key_cert_sign" not in usages:
        return "its key usage does not allow to sign certificates"
    return ""


def weak_signature(configs: ConfigScene) -> Iterator[Finding]:
    """Yield certificates with weak signatures."""
    for facts, each in configs.all_certificates():
        if _weakly_signed(each):
            message = f"it is signed with {each.signature}"
            yield found(WEAK_SIGNATURE, each.subject, message, place=facts.path)


def _authorities(configs: ConfigScene) -> Iterator[tuple[str, Certificate]]:
    """Yield every certificate that says it is a CA, or that issued another one all the same."""
    issuers = {each.fingerprint for one in configs.known.values() for each in configs.issuers(one)}
    seen: set[str] = set()
    for facts, each in configs.all_certificates():
        if each.fingerprint not in seen and (each.fingerprint in issuers or each.is_ca):
            seen.add(each.fingerprint)
            yield facts.path, each


def ca_shape(configs: ConfigScene) -> Iterator[Finding]:
    """Yield CAs that do not say so."""
    for path, each in _authorities(configs):
        message = _malformed(each)
        if message:
            yield found(CA_SHAPE, each.subject, message, place=path)


def no_key_usage(configs: ConfigScene) -> Iterator[Finding]:
    """Yield CAs without a key usage."""
    for path, each in _authorities(configs):
        if each.is_ca and each.key_usages is None:
            message = "it has no key usage extension"
            yield found(NO_KEY_USAGE, each.subject, message, place=path)


def said_elsewhere(path: tuple[Certificate, ...]) -> bool:
    """Say whether a rule above tells of a certificate of a path already."""
    return any(_is_weak(each) or _weakly_signed(each) for each in path) or any(
        _malformed(each) for each in path[1:]
    )


CHECKS = (
    (WEAK_KEY, weak_key),
    (WEAK_SIGNATURE, weak_signature),
    (CA_SHAPE, ca_shape),
    (NO_KEY_USAGE, no_key_usage),
)
