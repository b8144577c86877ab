"""Stand-ins for certificates of agents that nobody can see."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rigs.bosh_fakes import BEGUN, Ca, ca
from rollover.errors import EvidenceMissing, SpecError
from rollover.fleet.certificate import Certificate, KeyKind, Question, Stack, Usage
from rollover.pki.issue import CLIENT, SERVER, issue_leaf
from rollover.pki.keys import generate
from rollover.pki.stacks import Verifier
from rollover.platforms.bosh.placeholder_certificates import (
    LIFETIME,
    PlaceholderCertificates,
    agent_certificate,
)


@pytest.fixture(scope="module")
def signer() -> Ca:
    """The director's signing CA."""
    return ca("nats-ca")


def test_an_agents_certificate_is_made_as_the_director_makes_it(signer: Ca) -> None:
    """Three-letter country, critical usages, two years, no key identifiers (reference §2)."""
    made = agent_certificate(
        "a1.agent.bosh-internal",
        key=generate(KeyKind.P256),
        signer=signer.certificate,
        signer_key=signer.key,
        not_before=BEGUN,
    )
    parsed = x509.load_der_x509_certificate(made.der)
    with pytest.warns(UserWarning, match="length"):
        assert parsed.subject.rfc4514_string() == made.subject
    assert made.subject == "CN=a1.agent.bosh-internal,O=Cloud Foundry,C=USA"
    assert made.not_after - made.not_before == LIFETIME
    assert made.not_after > signer.certificate.not_after
    critical = {extension.oid: extension.critical for extension in parsed.extensions}
    assert set(critical) == {
        x509.KeyUsage.oid,
        x509.BasicConstraints.oid,
        x509.ExtendedKeyUsage.oid,
    }
    assert all(critical.values())
    parsed.verify_directly_issued_by(x509.load_der_x509_certificate(signer.certificate.der))
    assert parsed.public_bytes(Encoding.DER) == made.der


def test_a_go_server_accepts_it_from_its_ca_only(signer: Ca) -> None:
    """The proof is about the real thing: path, usage and dates."""
    stand_in = PlaceholderCertificates(lambda _: signer.secret).of(signer.certificate, issued=BEGUN)
    other = ca("other")
    certificates = {
        certificate.fingerprint: certificate
        for certificate in (stand_in, signer.certificate, other.certificate)
    }
    accepts = Verifier(certificates)

    def accepted(trusted: Certificate, *, days: float) -> bool:
        question = Question(
            chain=(stand_in.fingerprint,),
            bundle=(trusted.fingerprint,),
            instant=BEGUN + timedelta(days=days),
            usage=Usage.CLIENT,
            stack=Stack.GO,
        )
        return accepts(question).accepted

    assert accepted(signer.certificate, days=1)
    assert not accepted(other.certificate, days=1)
    assert not accepted(signer.certificate, days=400), "its CA has expired"


def test_one_is_made_for_each_ca_and_day(signer: Ca) -> None:
    """Thousands of agents are a few classes."""
    made = PlaceholderCertificates(lambda _: signer.secret)
    first = made.of(signer.certificate, issued=BEGUN)
    assert made.of(signer.certificate, issued=BEGUN + timedelta(hours=3)) is first
    assert made.of(signer.certificate, issued=BEGUN + timedelta(days=1)) is not first


def test_without_the_key_another_client_stands_in(signer: Ca) -> None:
    """The director's own certificate comes from the same CA."""

    def leaf(profile: object, issuer: Ca) -> Certificate:
        return issue_leaf(
            profile=CLIENT if profile == "client" else SERVER,
            common_name="x",
            names=(),
            key=generate(KeyKind.P256),
            authority=issuer.certificate,
            authority_key=issuer.key,
            not_before=BEGUN,
            lifetime=timedelta(days=5),
        )

    client = leaf("client", signer)
    known = (leaf("server", signer), leaf("client", ca("nats-ca")), client)
    assert (
        PlaceholderCertificates(lambda _: None, known=lambda: known).of(
            signer.certificate, issued=BEGUN
        )
        == client
    )
    with pytest.raises(EvidenceMissing, match="private key is not in the vars store"):
        PlaceholderCertificates(lambda _: None).of(signer.certificate, issued=BEGUN)


def test_a_key_of_another_ca_is_refused(signer: Ca) -> None:
    """A mismatch would be a stand-in for nothing."""
    with pytest.raises(SpecError, match="does not belong"):
        PlaceholderCertificates(lambda _: ca("x").secret).of(signer.certificate, issued=BEGUN)
