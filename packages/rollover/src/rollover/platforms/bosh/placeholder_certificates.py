"""Agents' certificates as the director makes them: real ones, and placeholders for those unseen."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from threading import Lock

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rollover.errors import EvidenceMissing
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.names import Fingerprint, short
from rollover.fleet.secret import SecretBytes
from rollover.pki import der, issue
from rollover.pki.certificate import Signed, anatomy, check_signature, key_usage
from rollover.pki.der import SEQUENCE, RawExtension
from rollover.pki.issue import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE
from rollover.pki.keys import PrivateKey, from_pem, generate

LIFETIME = timedelta(days=730)
"""How long an agent's certificate lives, whatever its CA does (nats_client_cert_generator.rb)."""
SUFFIX = ".agent.bosh-internal"
PLACEHOLDER = "stand-in" + SUFFIX
"""The common name of a placeholder."""

_SET, _PRINTABLE, _UTF8 = 0x31, 0x13, 0x0C

SignerKey = Callable[[Fingerprint], SecretBytes | None]


def agent_certificate(
    common_name: str,
    *,
    key: PrivateKey,
    signer: Certificate,
    signer_key: PrivateKey,
    not_before: datetime,
    country: str = "USA",
) -> Certificate:
    """Return a certificate for an agent, as the director makes it.

    `C=USA, O=Cloud Foundry`, a critical usage `clientAuth`, two years that are not clipped to the
    CA's, no key identifiers. `SpecError` when the key is not the signer's.
    """
    issue.check_issuer(signer, signer_key)
    start = not_before.astimezone(UTC).replace(microsecond=0)
    facts = Certificate(
        fingerprint=Fingerprint(""),
        subject=f"CN={common_name},O=Cloud Foundry,C={country}",
        issuer_name=signer.subject,
        serial=issue.new_serial(),
        not_before=start,
        not_after=start + LIFETIME,
        key=key.kind,
        key_identity=hashlib.sha256(key.spki).hexdigest(),
        key_usages=("digital_signature",),
        extended_key_usages=("client_auth",),
    )
    blank = issue.Blank(
        facts, _name(common_name, country), anatomy(signer).raw_subject, key.spki, _extensions()
    )
    return issue.sign(blank, signer_key)


def _name(common_name: str, country: str) -> bytes:
    """Return the DER of the subject.

    A country of three letters is not allowed (X.520), and what every director writes; so is a
    common name of more than 64 characters. Libraries refuse both.
    """
    parts = (
        (NameOID.COUNTRY_NAME, _PRINTABLE, country),
        (NameOID.ORGANIZATION_NAME, _UTF8, "Cloud Foundry"),
        (NameOID.COMMON_NAME, _UTF8, common_name),
    )
    attributes = (
        der.tlv(SEQUENCE, der.object_identifier(oid.dotted_string), der.tlv(tag, text.encode()))
        for oid, tag, text in parts
    )
    return der.tlv(SEQUENCE, *(der.tlv(_SET, attribute) for attribute in attributes))


def _extensions() -> tuple[RawExtension, ...]:
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]).public_bytes()
    usages = key_usage(("digital_signature",)).public_bytes()
    constraints = der.basic_constraints(is_ca=False, path_length=None)
    return (
        RawExtension(KEY_USAGE, critical=True, value=usages),
        RawExtension(BASIC_CONSTRAINTS, critical=True, value=constraints),
        RawExtension(EXTENDED_KEY_USAGE, critical=True, value=purposes),
    )


@functools.cache
def _placeholder_key() -> PrivateKey:
    """Return the key of all placeholders of this process: an RSA key takes its time."""
    return generate(KeyKind.RSA_3072)


class PlaceholderCertificates:
    """Makes what an agent must be presenting, from what is known of it: its signer and its age.

    One key serves all of them: nobody ever presents one. Safe to share between threads.
    `known` are certificates that were seen in use: one that a CA issued to another client takes the
    place where the CA's own key is not at hand.
    """

    def __init__(
        self, signer_key: SignerKey, *, known: Callable[[], Iterable[Certificate]] = tuple
    ) -> None:
        self._signer_key = signer_key
        self._known = known
        self._made: dict[tuple[Fingerprint, datetime], Certificate] = {}
        self._lock = Lock()

    def of(self, signer: Certificate, *, issued: datetime) -> Certificate:
        """Return the placeholder for a certificate that `signer` issued on that day.

        Raises `EvidenceMissing` when there is neither the signer's key nor a client's certificate.
        """
        # By the day: each costs an RSA signature, and of thousands of agents most share their days.
        day = issued.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        with self._lock:
            if (signer.fingerprint, day) not in self._made:
                self._made[signer.fingerprint, day] = self._make(signer, day)
            return self._made[signer.fingerprint, day]

    def _make(self, signer: Certificate, day: datetime) -> Certificate:
        secret = self._signer_key(signer.fingerprint)
        if secret is None:
            return self._known_leaf(signer)
        return agent_certificate(
            PLACEHOLDER,
            key=_placeholder_key(),
            signer=signer,
            signer_key=from_pem(secret.reveal(), place=f"the key of `{signer.subject}`"),
            not_before=day,
            # No verifier looks at it, and libraries warn of `USA` whenever it is read.
            country="US",
        )

    def _known_leaf(self, signer: Certificate) -> Certificate:
        for certificate in self._known():
            usages = certificate.extended_key_usages
            if (
                not certificate.is_ca
                and certificate.issuer_name == signer.subject
                and (usages is None or "client_auth" in usages)
                and check_signature(anatomy(certificate), by=anatomy(signer)) is Signed.GOOD
            ):
                return certificate
        raise EvidenceMissing(
            f"nothing can be proven of agents whose certificates come from `{signer.subject}` "
            f"({short(signer.fingerprint)}): its private key is not in the vars store, and no "
            "other certificate of it was seen",
            hint="put the CA with its key back into the vars store, from a backup",
        )
