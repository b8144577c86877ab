"""Loading a client's files: what is presented, what is trusted, and every way to be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from nats_rotating_client import material
from nats_rotating_client.errors import MaterialError
from nats_rotating_client.material import MaterialFiles
from rigs.client_pki import Authority, bundle, deliver

OLD, NEW = Authority("old"), Authority("new")
PAIR, OTHER = OLD.issue("client"), OLD.issue("other")


@pytest.fixture
def files(tmp_path: Path) -> MaterialFiles:
    """Return a set that fits."""
    return deliver(tmp_path / "set", PAIR, ca=bundle(OLD, NEW))


def test_a_set_that_fits_tells_leaf_and_authorities_in_file_order(files: MaterialFiles) -> None:
    """Fingerprints are those of the DER: the leaf's, and each CA's in the order of the bundle."""
    loaded = material.load_material(files)
    assert loaded.leaf == PAIR.fingerprint
    assert loaded.authorities == (OLD.fingerprint, NEW.fingerprint)
    assert len(loaded.context.get_ca_certs()) == 2


def test_a_context_is_fresh_each_time(files: MaterialFiles) -> None:
    """A CA that left the bundle is not trusted any more: contexts are never added to."""
    first = material.load_material(files)
    deliver(files.ca.parent, ca=NEW.certificate)
    second = material.load_material(files)
    assert first.context is not second.context
    assert [len(pair.context.get_ca_certs()) for pair in (first, second)] == [2, 1]


def _truncate(files: MaterialFiles) -> None:
    files.certificate.write_bytes(PAIR.certificate[:200])


def _swap(files: MaterialFiles) -> None:
    files.certificate.write_bytes(PAIR.key)


def _mismatch(files: MaterialFiles) -> None:
    files.key.write_bytes(OTHER.key)


def _empty(files: MaterialFiles) -> None:
    files.ca.write_bytes(b"")


def _damage(files: MaterialFiles) -> None:
    lines = OLD.certificate.splitlines(keepends=True)
    files.ca.write_bytes(b"".join([lines[0], b"!!!!\n", lines[-1]]))


def _not_der(files: MaterialFiles) -> None:
    lines = OLD.certificate.splitlines(keepends=True)
    files.ca.write_bytes(b"".join([lines[0], b"AAAA\n", lines[-1]]))


def _half_a_bundle(files: MaterialFiles) -> None:
    files.ca.write_bytes(OLD.certificate + NEW.certificate[:100])


def _no_key(files: MaterialFiles) -> None:
    files.key.unlink()


def _bad_key(files: MaterialFiles) -> None:
    files.key.write_bytes(b"not a key")


def _encrypt(files: MaterialFiles) -> None:
    key = serialization.load_pem_private_key(PAIR.key, None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"throw-away"),
        )
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, r"tls\.crt: 1 certificates begin but 0 are complete"),
        (_swap, r"tls\.crt: expected a PEM certificate, found a private key"),
        (_mismatch, r"tls\.crt: the private key `.*tls\.key` does not belong"),
        (_empty, r"ca\.crt: the file is empty"),
        (_damage, r"ca\.crt: certificate 1 is damaged"),
        (_not_der, r"ca\.crt: OpenSSL cannot read a CA certificate"),
        (_half_a_bundle, r"ca\.crt: 2 certificates begin but 1 are complete"),
        (_no_key, r"tls\.key: cannot read the private key: No such file"),
        (_bad_key, r"tls\.crt: OpenSSL cannot use the certificate and its key"),
        (_encrypt, r"tls\.key: the private key is encrypted"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_with_place_and_reason(
    files: MaterialFiles, spoil: Callable[[MaterialFiles], None], message: str
) -> None:
    """Each kind of broken file is named; nothing is asked on a terminal; no key is shown."""
    spoil(files)
    with pytest.raises(MaterialError, match=message) as refused:
        material.load_material(files)
    assert b"PRIVATE KEY-----" not in str(refused.value).encode()


def test_a_symlink_swap_changes_the_stamps(tmp_path: Path) -> None:
    """Stamps are those of the files at the end of all links."""
    deliver(tmp_path / "..one", PAIR, ca=bundle(OLD))
    deliver(tmp_path / "..two", PAIR, ca=bundle(OLD))
    (tmp_path / "..data").symlink_to("..one")
    files = MaterialFiles.in_directory(tmp_path / "..data")
    before = material.stamp_files(files)
    (tmp_path / "new").symlink_to("..two")
    (tmp_path / "new").rename(tmp_path / "..data")
    after = material.stamp_files(files)
    assert None not in before
    assert all(first != second for first, second in zip(before, after, strict=True))


def test_a_missing_file_has_no_stamp(tmp_path: Path) -> None:
    """A file that is not there is no error while the files are only watched."""
    assert material.stamp_files(MaterialFiles.in_directory(tmp_path)) == (None, None, None)
