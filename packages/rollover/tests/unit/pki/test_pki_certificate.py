"""A DER certificate is read into facts, however odd it is, and refused when it is damaged."""

from __future__ import annotations

import hashlib
import ipaddress
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from rigs.pki_forge import (
    CA,
    CLIENT_AUTH,
    DAY,
    LEAF,
    LOCALHOST,
    NOW,
    SERVER_AUTH,
    Shape,
    ec_key,
    forge,
    rsa_key,
    with_negative_serial,
    with_sha1,
)
from rollover.errors import PemError
from rollover.pki.certificate import DER_LIMIT, parse_der


def _with_country(der: bytes, country: str) -> bytes:
    """Return a certificate of the same name, with a country in front of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = x509.NameAttribute(NameOID.COUNTRY_NAME, country, _validate=False)
    parsed = x509.load_der_x509_certificate(der)
    key = ec_key()
    builder = x509.CertificateBuilder(
        issuer_name=parsed.issuer,
        subject_name=x509.Name([odd, *parsed.subject]),
        public_key=key.public_key(),
        serial_number=parsed.serial_number,
        not_valid_before=parsed.not_valid_before_utc,
        not_valid_after=parsed.not_valid_after_utc,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


CUSTOM_USAGE = x509.ObjectIdentifier("1.2.3.4")


def test_every_fact_is_read() -> None:
    """Names by form and in order, usages by name, identifiers in hexadecimal, times in UTC."""
    root = forge("root", CA)
    names = (
        x509.DNSName("a.example.com"),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.RFC822Name("ops@example.com"),
        x509.UniformResourceIdentifier("spiffe://example.com/a"),
        LOCALHOST,
    )
    shape = LEAF._replace(names=names, extended=(SERVER_AUTH, CLIENT_AUTH, CUSTOM_USAGE))
    leaf = forge("leaf", shape, by=root).certificate
    assert leaf.fingerprint == hashlib.sha256(leaf.der).hexdigest()
    assert (leaf.subject, leaf.issuer_name) == ("CN=leaf", "CN=root")
    assert leaf.dns_names == ("a.example.com", "localhost")
    assert (leaf.ip_addresses, leaf.emails) == (("::1",), ("ops@example.com",))
    assert leaf.uris == ("spiffe://example.com/a",)
    assert leaf.extended_key_usages == ("server_auth", "client_auth", "1.2.3.4")
    assert leaf.key_usages == ("digital_signature",)
    assert leaf.authority_key_id == root.certificate.subject_key_id != ""
    assert (leaf.not_before, leaf.not_after) == (NOW - DAY, NOW + 30 * DAY)
    assert (leaf.key, leaf.signature, leaf.is_ca) == ("p-256", "sha256", False)


def test_a_root_is_known_as_self_signed_ca() -> None:
    """Issuer equals subject, and its own key verifies the signature."""
    root = forge("root", CA).certificate
    assert root.is_ca
    assert root.self_signed
    assert root.key_usages == ("key_cert_sign", "crl_sign")


def test_self_issued_by_another_key_is_not_self_signed() -> None:
    """The name alone proves nothing."""
    assert not forge("root", CA, signer=ec_key()).certificate.self_signed


def test_a_bare_certificate_is_read() -> None:
    """No extension at all: absent facts read as absent, not as empty."""
    bare = Shape(subject_key_id=False, authority_key_id=False)
    found = forge("bare", bare).certificate
    assert found.key_usages is None
    assert found.extended_key_usages is None
    assert (found.names, found.subject_key_id, found.is_ca) == ((), "", False)


def test_a_negative_serial_is_read() -> None:
    """Such certificates exist; what to make of them is the verifier's business."""
    key = ec_key()
    root = forge("root", CA, key=key)
    found = with_negative_serial(forge("leaf", LEAF._replace(serial=9), by=root), signer=key)
    assert found.certificate.serial == -9


def test_a_country_of_three_letters_is_read() -> None:
    """Every BOSH agent's certificate says `C=USA`: no warning, and the name as it stands."""
    forged = forge("leaf", by=forge("root", CA)).certificate.der
    named = _with_country(forged, "USA")
    assert parse_der(named).subject == "CN=leaf,C=USA"


def test_a_sha1_signature_is_read() -> None:
    """The weak hash is named."""
    key = rsa_key(2048, "root")
    root = forge("root", CA, key=key)
    assert with_sha1(forge("leaf", by=root), signer=key).certificate.signature == "sha1"


def test_an_unreadable_extension_leaves_its_facts_out() -> None:
    """A certificate with a broken SAN is still known by subject, dates and key."""
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x04\x01x")
    found = forge("leaf", LEAF._replace(names=(), extra=((broken, False),))).certificate
    assert found.subject == "CN=leaf"
    assert found.names == ()


@pytest.mark.parametrize("cut", [0, 1, 40, 200, -1])
def test_a_damaged_certificate_is_refused(cut: int) -> None:
    """Truncation anywhere is an error with its place and a remedy."""
    der = forge("leaf").certificate.der[:cut]
    with pytest.raises(PemError, match=r"a\.pem: the certificate is damaged") as refusal:
        parse_der(der, place="a.pem")
    assert refusal.value.hint


def test_bytes_after_the_end_are_refused() -> None:
    """DER says how long it is."""
    with pytest.raises(PemError, match="bytes follow its end"):
        parse_der(forge("leaf").certificate.der + b"\x00")


def test_an_oversized_certificate_is_refused_unread() -> None:
    """A limit stands before the parser."""
    with pytest.raises(PemError, match="more than the limit"):
        parse_der(b"\x30" * (DER_LIMIT + 1))
