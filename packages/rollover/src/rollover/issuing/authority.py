"""The local CA: two files in a private directory, made when there are none."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rollover.errors import Conflict, PemError, SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.secret import SecretBytes
from rollover.issuing.files import Pair, make_private_directory, read, unusable, write_pair
from rollover.pki import keys
from rollover.pki.issue import allowing_for_skew, issue_authority
from rollover.pki.keys import PrivateKey
from rollover.pki.pem import read_certificates, write_certificates

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca-key.pem"
LIFETIME = timedelta(days=3650)
KEY_KIND = KeyKind.P256
"""Whatever the leaves have: every TLS stack verifies it, which is not so for Ed25519."""

LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.02
_IDENTITY_DIGITS = 8

RISK = "whoever has its key can impersonate any name to everybody who trusts this CA"


class LocalAuthority(NamedTuple):
    """A CA that signs here. `chain` is what peers must trust, the signing certificate first."""

    chain: tuple[Certificate, ...]
    key: PrivateKey
    file: Path
    made: bool

    @property
    def certificate(self) -> Certificate:
        """The certificate that signs."""
        return self.chain[0]

    @property
    def intermediates(self) -> tuple[Certificate, ...]:
        """What a leaf must be served with: everything above it that is no root."""
        return tuple(each for each in self.chain if not each.self_signed)


def open_authority(
    directory: Path, *, now: datetime, wait_seconds: float = LOCK_SECONDS
) -> LocalAuthority:
    """Return the CA in a directory, made when the directory has none.

    Raises `SpecError` when half of it is missing, the key is another's, or it has expired, and
    `Conflict` when another process makes one and does not end.
    """
    make_private_directory(directory)
    with _locked(directory, wait_seconds):
        files = authority_files(directory)
        there = [path for path in files if os.path.lexists(path)]
        if not there:
            return _make(files, now=now)
        if len(there) < len(files):
            raise _half(present=there[0], files=files)
    return _read(files, now=now)


def authority_files(directory: Path) -> Pair:
    """Return where a directory has its CA, whether it is there or not."""
    return Pair(directory / CERTIFICATE_FILE, directory / KEY_FILE)


def trusted(directory: Path) -> Certificate:
    """Return the certificate of the CA in a directory that peers should trust: its root.

    Its key need not be there. An intermediate without its root stands for itself.
    """
    path = authority_files(directory).certificate
    if not path.exists():
        raise SpecError(
            "there is no CA",
            place=str(directory),
            hint="`--ca-dir` names the directory; `rollover issue` makes a CA where there is none",
        )
    chain = read_certificates(read(path), place=str(path)).certificates
    return next((each for each in chain if each.self_signed), chain[0])


def _make(files: Pair, *, now: datetime) -> LocalAuthority:
    key = keys.generate(KEY_KIND)
    certificate = issue_authority(
        # A name of its own for every CA: two of one name are told apart by nobody.
        common_name=f"Rollover CA {key.key_identity[:_IDENTITY_DIGITS]}",
        key=key,
        not_before=allowing_for_skew(now, LIFETIME),
        lifetime=LIFETIME,
    )
    chain = write_certificates((certificate,))
    write_pair(files, chain=chain, key=SecretBytes(keys.to_pem(key)), over=False)
    return LocalAuthority((certificate,), key, files.certificate, made=True)


def _read(files: Pair, *, now: datetime) -> LocalAuthority:
    chain = read_certificates(read(files.certificate), place=str(files.certificate)).certificates
    key = keys.from_pem(read(files.key), place=str(files.key))
    _check(chain[0], key, files, now=now)
    return LocalAuthority(chain, key, files.certificate, made=False)


def _check(certificate: Certificate, key: PrivateKey, files: Pair, *, now: datetime) -> None:
    if certificate.key_identity != key.key_identity:
        raise PemError(
            f"the key is not that of `{certificate.subject}`",
            place=str(files.key),
            hint=f"`{files.certificate}` must begin with the certificate of this key",
        )
    if not certificate.is_ca:
        raise SpecError(
            f"`{certificate.subject}` is no CA",
            place=str(files.certificate),
            hint="name the directory of a CA with `--ca-dir`",
        )
    if not certificate.not_before <= now <= certificate.not_after:
        raise SpecError(
            f"`{certificate.subject}` is valid from {certificate.not_before:%Y-%m-%d %H:%M:%SZ} "
            f"to {certificate.not_after:%Y-%m-%d %H:%M:%SZ}",
            place=str(files.certificate),
            hint="move the directory away, or name another with `--ca-dir`: a new CA is made there",
        )


def _half(*, present: Path, files: Pair) -> SpecError:
    missing = files.key if present == files.certificate else files.certificate
    return SpecError(
        f"`{missing.name}` is missing beside `{present.name}`",
        place=str(missing),
        hint="bring it back, or name another directory with `--ca-dir`: a new CA is made there",
    )


@contextmanager
def _locked(directory: Path, wait_seconds: float) -> Iterator[None]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(directory, error) from None
    try:
        _wait(descriptor, directory, wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, directory: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(
                    f"`{directory}` is in use by another process",
                    system="local CA",
                    operation="lock",
                    hint="wait for it to end, then run again",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
