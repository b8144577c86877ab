"""Certificates of agents are exactly as the real director makes them, oddities included."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rigs.bosh_director_rig import Authority
from rollover.pki.keys import KeyForm, to_pem
from rollover.pki.pem import write_certificates
from rollover_lab.bosh.director.credentials import AgentCertificateIssuer, MbusCertificate
from rollover_lab.bosh.director.refusals import CertificateGenerationFailed
from rollover_lab.bosh.job_config import AgentCredentials


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Return a CA; its key takes time to make."""
    return Authority()


def credentials(
    folder: Path, authority: Authority, *, key: bytes | None = None
) -> AgentCertificateIssuer:
    """Return credentials that this CA signs, with files in the folder."""
    files = {
        "ca.pem": write_certificates((authority.certificate,)),
        "ca.key": key or to_pem(authority.key, KeyForm.PKCS1),
        "bundle.pem": write_certificates((authority.certificate,)),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return AgentCertificateIssuer(
        AgentCredentials(
            client_ca_certificate=str(folder / "ca.pem"),
            client_ca_private_key=str(folder / "ca.key"),
            bundle=str(folder / "bundle.pem"),
            url="nats://127.0.0.1:4222",
        ),
        trusted_certs="",
    )


def test_a_certificate_is_that_of_the_real_director(tmp_path: Path, authority: Authority) -> None:
    """RSA 3072, `C=USA`, everything critical, no key identifiers, two years, PKCS#1."""
    made = credentials(tmp_path, authority).permanent("a1")
    shown = _shown(made)
    assert "Subject: C = USA, O = Cloud Foundry, CN = a1.agent.bosh-internal" in shown
    assert "Public-Key: (3072 bit)" in shown
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in shown
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE\n" in shown
    usage = "X509v3 Extended Key Usage: critical\n                TLS Web Client Authentication"
    assert usage in shown
    assert "Key Identifier" not in shown
    begin, end = (_date(shown, label) for label in ("Not Before: ", "Not After : "))
    assert end - begin == timedelta(days=730)
    assert end > authority.certificate.not_after
    assert made.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----")
    public = _openssl("x509", "-noout", "-pubkey", given=made.certificate)
    assert _openssl("pkey", "-pubout", given=made.private_key) == public


def test_a_vm_is_born_with_a_name_of_its_own(tmp_path: Path, authority: Authority) -> None:
    """The bootstrap name is longer than a common name may be."""
    agent = "e7700dca-8818-4c03-b9fa-2e047899e7ef"
    made = credentials(tmp_path, authority).bootstrap(agent)
    assert f"CN = {agent}.bootstrap.agent.bosh-internal" in _shown(made)


def test_the_fingerprint_is_that_of_the_three_files(tmp_path: Path, authority: Authority) -> None:
    """`sha1(client_ca.cert + client_ca.key + nats.tls.ca)`, the texts as they are."""
    known = credentials(tmp_path, authority)
    parts = b"".join((tmp_path / name).read_bytes() for name in ("ca.pem", "ca.key", "bundle.pem"))
    assert known.nats_config_sha1 == hashlib.sha1(parts, usedforsecurity=False).hexdigest()


def test_a_key_of_another_ca_fails_with_the_text_of_the_director(
    tmp_path: Path, authority: Authority
) -> None:
    """Every deploy fails then."""
    other = to_pem(Authority().key, KeyForm.PKCS1)
    known = credentials(tmp_path, authority, key=other)
    with pytest.raises(CertificateGenerationFailed, match="CA Certificate/Private Key mismatch"):
        known.permanent("a1")


def test_a_private_key_is_never_shown(tmp_path: Path, authority: Authority) -> None:
    """Not even in a representation."""
    made = credentials(tmp_path, authority).permanent("a1")
    assert "PRIVATE" not in repr(made)


def _shown(made: MbusCertificate) -> str:
    return _openssl("x509", "-noout", "-text", given=made.certificate)


def _date(shown: str, label: str) -> datetime:
    text = shown.partition(label)[2].partition(" GMT")[0]
    return datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def _openssl(*arguments: str, given: str) -> str:
    """Return what openssl says: it is no party to how the certificate was made."""
    argv = ["openssl", *arguments]
    done = subprocess.run(
        argv, input=given, check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout
