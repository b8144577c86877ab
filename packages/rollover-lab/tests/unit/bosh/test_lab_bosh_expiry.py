"""Certificates that are signed again with other dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from rollover.errors import SpecError
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import SERVER, issue_authority, issue_leaf
from rollover.pki.keys import KeyForm, PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover_lab.bosh import expiry
from rollover_lab.bosh.expiry import LabSigner

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENDED = datetime(2026, 5, 31, tzinfo=UTC)
YEAR = timedelta(days=365)


class Authority:
    """A CA with its key, and a leaf of it, all PEM."""

    def __init__(self, name: str) -> None:
        key = generate(KeyKind.RSA_2048)
        certificate = issue_authority(
            common_name=name, key=key, not_before=NOW, lifetime=YEAR, serial=7
        )
        leaf = issue_leaf(
            profile=SERVER,
            common_name="default.nats.bosh-internal",
            names=("127.0.0.1",),
            key=generate(KeyKind.P256),
            authority=certificate,
            authority_key=key,
            not_before=NOW,
            lifetime=timedelta(days=100),
        )
        self.key: PrivateKey = key
        self.ca = write_certificates((certificate,)).decode()
        self.leaf = write_certificates((leaf,)).decode()

    def signer(self) -> LabSigner:
        """Return what signs again."""
        return expiry.read_signer(self.ca, to_pem(self.key, KeyForm.PKCS1).decode())


@pytest.fixture(scope="module")
def ours() -> Authority:
    """The CA that is to expire."""
    return Authority("default.nats-ca.bosh-internal")


@pytest.fixture(scope="module")
def theirs() -> Authority:
    """Another CA, of the same name."""
    return Authority("default.nats-ca.bosh-internal")


def _only(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def test_a_leaf_and_its_ca_have_ended(ours: Authority) -> None:
    """Both ended at the instant that is asked for, and lived as long as they would have."""
    swap = expiry.resign_expired((ours.ca + ours.leaf,), (ours.signer(),), at=ENDED)
    ca, leaf = (_only(expiry.swap_certificates(text, swap)) for text in (ours.ca, ours.leaf))
    assert (ca.not_valid_after_utc, leaf.not_valid_after_utc) == (ENDED, ENDED)
    assert ca.not_valid_before_utc == ENDED - YEAR
    assert leaf.not_valid_before_utc == ENDED - timedelta(days=100)


def test_all_but_the_dates_is_as_it_was(ours: Authority) -> None:
    """Subject, key, serial and extensions are kept, and the signature is the CA's."""
    swap = expiry.resign_expired((ours.leaf, ours.ca), (ours.signer(),), at=ENDED)
    before, after = _only(ours.leaf), _only(expiry.swap_certificates(ours.leaf, swap))
    assert after.subject == before.subject
    assert after.public_key() == before.public_key()
    assert after.serial_number == before.serial_number
    assert list(after.extensions) == list(before.extensions)
    after.verify_directly_issued_by(_only(expiry.swap_certificates(ours.ca, swap)))


def test_certificates_of_another_ca_of_the_same_name_stay(
    ours: Authority, theirs: Authority
) -> None:
    """Who signed is told by the signature: old and new NATS CA have one name."""
    swap = expiry.resign_expired((ours.ca, theirs.ca + theirs.leaf), (ours.signer(),), at=ENDED)
    assert expiry.swap_certificates(theirs.ca + theirs.leaf, swap) == theirs.ca + theirs.leaf
    assert expiry.swap_certificates(ours.ca, swap) != ours.ca


def test_text_around_certificates_stays(ours: Authority) -> None:
    """Only the blocks change: not the key beside them, not their order, not the last newline."""
    swap = expiry.resign_expired((ours.ca, ours.leaf), (ours.signer(),), at=ENDED)
    text = f"# bundle\n{ours.ca}{ours.leaf}key"
    changed = expiry.swap_certificates(text, swap)
    assert changed.startswith("# bundle\n-----BEGIN CERTIFICATE-----\n")
    assert changed.endswith("-----END CERTIFICATE-----\nkey")
    assert len(expiry.read_blocks(changed)) == 2


def test_a_key_of_another_ca_is_refused(ours: Authority, theirs: Authority) -> None:
    """Nothing is signed with a key that is not the CA's."""
    with pytest.raises(SpecError, match="do not belong together"):
        expiry.read_signer(ours.ca, to_pem(theirs.key, KeyForm.PKCS1).decode())
