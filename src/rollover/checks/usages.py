"""Rules over what certificates may be used for, and how their CAs can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.checks.scene import Scene, named
from rollover.fleet.certificate import Certificate
from rollover.fleet.model import Role
from rollover.fleet.names import RuleId

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


def usage_missing(context: Scene) -> Iterator[Finding]:
    """Yield the endpoints that dial and are dialled with a chain that is good for one of both."""
    for party in context.parties:
        if party.endpoint.role not in _BOTH_WAYS:
            continue
        for each in context.whole_chain(party.endpoint.presents):
            missing = [usage for usage in _NEEDED if not _allows(each, usage)]
            if missing:
                kind = "the CA" if each.is_ca else "the leaf"
                yield found(
                    USAGE_MISSING,
                    str(party.ref),
                    f"{kind} {context.label(each.fingerprint)} lacks {', '.join(missing)}",
                )
                break


def _allows(certificate: Certificate, usage: str) -> bool:
    allowed = certificate.extended_key_usages
    return allowed is None or usage in allowed or "any" in allowed


def no_key_id(context: Scene) -> Iterator[Finding]:
    """Yield the CAs in bundles that have no subject key identifier."""
    for fingerprint, refs in context.trusted.items():
        certificate = context.certificate(fingerprint)
        if certificate is not None and certificate.is_ca and not certificate.subject_key_id:
            yield found(
                NO_KEY_ID,
                context.label(fingerprint),
                f"it has no subject key identifier; {named(refs)} trust it",
            )


CHECKS = ((USAGE_MISSING, usage_missing), (NO_KEY_ID, no_key_id))
