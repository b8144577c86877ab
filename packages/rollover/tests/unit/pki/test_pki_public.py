"""What a certificate says of where it comes from, and of OCSP."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from rigs.pki_forge import LEAF, forge
from rollover.fleet.certificate import Certificate
from rollover.pki.certificate import is_public, must_staple, names_responder

TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def made(*extensions: x509.ExtensionType) -> Certificate:
    """Return a leaf with these extensions."""
    return forge(
        "n1", LEAF._replace(extra=tuple((extension, False) for extension in extensions))
    ).certificate


def policy(oid: str) -> x509.CertificatePolicies:
    """Return an extension with one policy."""
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None)])


def access(method: x509.ObjectIdentifier) -> x509.AuthorityInformationAccess:
    """Return an extension that names one place."""
    url = x509.UniformResourceIdentifier("http://ca.example/x")
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, url)])


@pytest.mark.parametrize(
    ("extension", "public"),
    [
        (policy("2.23.140.1.2.1"), True),
        (policy("2.23.140.1.1"), True),
        (policy("2.23.140.1.4.1"), False),
        (policy("1.3.6.1.4.1.99999.1"), False),
        (x509.UnrecognizedExtension(TIMESTAMPS, b"\x04\x00"), True),
        (access(AuthorityInformationAccessOID.CA_ISSUERS), False),
    ],
)
def test_public_certificates_say_so(extension: x509.ExtensionType, *, public: bool) -> None:
    """Policies for servers and timestamps of logs; not those for code, nor one's own."""
    assert is_public(made(extension)) is public


def test_a_plain_certificate_says_nothing() -> None:
    """Neither public, nor to be stapled, nor with a responder."""
    plain = made()
    assert not is_public(plain)
    assert not must_staple(plain)
    assert not names_responder(plain)


def test_what_is_to_be_stapled_says_so() -> None:
    """RFC 7633: the feature `status_request`; another feature is another thing."""
    assert must_staple(made(x509.TLSFeature([x509.TLSFeatureType.status_request])))
    assert not must_staple(made(x509.TLSFeature([x509.TLSFeatureType.status_request_v2])))


def test_a_responder_is_no_place_of_the_issuer() -> None:
    """Both stand in one extension, told apart by their method."""
    assert names_responder(made(access(AuthorityInformationAccessOID.OCSP)))
    assert not names_responder(made(access(AuthorityInformationAccessOID.CA_ISSUERS)))
