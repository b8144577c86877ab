"""Certificates that the director issues to agents, and when those of its own manifest end."""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.pki.keys import KeyForm, PrivateKey, from_pem, generate, to_pem
from rollover.pki.pem import read_certificates, split_blocks, write_certificates
from rollover.platforms.bosh.placeholder_certificates import agent_certificate
from rollover_lab import machine
from rollover_lab.bosh.director.refusals import CertificateGenerationFailed
from rollover_lab.bosh.job_config import AgentCredentials, DirectorConfig

NewKey = Callable[[], PrivateKey]


def new_own_key() -> PrivateKey:
    """Return a new RSA-3072 key, as the real director makes one for each certificate.

    It takes 0.1 to 1 s of a processor, and an agent gets two certificates at its birth alone.
    """
    return generate(KeyKind.RSA_3072)


class SharedKeys:
    """So many keys, handed out by turns; made in the background, so that nobody waits for all.

    Whoever has one agent's credentials can then pretend to be others: for labs only. They are kept
    in a file, where there is one: a director that starts again, or another lab's, has them at once.
    """

    def __init__(self, count: int, *, kept: Path | None = None) -> None:
        self._kept = kept
        self._ready: list[PrivateKey] = _read(kept, count)
        self._turns = itertools.count()
        self._grown = threading.Condition()
        threading.Thread(target=self._make, args=(count,), daemon=True).start()

    def next(self) -> PrivateKey:
        """Return the key whose turn it is; waits for the first one only."""
        with self._grown:
            self._grown.wait_for(lambda: self._ready)
            return self._ready[next(self._turns) % len(self._ready)]

    def _make(self, count: int) -> None:
        if len(self._ready) >= count:
            return
        for _ in range(count - len(self._ready)):
            key = new_own_key()
            with self._grown:
                self._ready.append(key)
                self._grown.notify_all()
        if self._kept is not None:
            machine.write_private(self._kept, b"".join(to_pem(key) for key in self._ready))


def _read(kept: Path | None, count: int) -> list[PrivateKey]:
    if kept is None or not kept.exists():
        return []
    found = []
    for block in split_blocks(kept.read_bytes())[:count]:
        # They were made by us: to prove that their primes are primes takes as long as new ones.
        key = load_der_private_key(block.content, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, RSAPrivateKey):
            found.append(PrivateKey(key))
    return found


class MbusCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`mbus.cert` of agent settings, PEM. Holds a private key: never logged."""

    ca: str
    certificate: str
    private_key: str

    def __repr__(self) -> str:
        return "MbusCertificate(…)"


class _Signer(NamedTuple):
    certificate: Certificate
    key: PrivateKey


class AgentCertificateIssuer:
    """Signs certificates for agents; reads its files once, as the director does when it starts."""

    def __init__(
        self, files: AgentCredentials, *, trusted_certs: str, new_key: NewKey = new_own_key
    ) -> None:
        self._certificate = Path(files.client_ca_certificate).read_bytes()
        self._key = Path(files.client_ca_private_key).read_bytes()
        self._bundle = Path(files.bundle).read_text()
        self.url = files.url
        self.trusted_certs = trusted_certs
        self._new_key = new_key

    @property
    def nats_config_sha1(self) -> str:
        """The fingerprint that decides whether an agent's credentials are up to date."""
        parts = self._certificate + self._key + self._bundle.encode()
        return hashlib.sha1(parts, usedforsecurity=False).hexdigest()

    @property
    def trusted_certs_sha1(self) -> str:
        """The same for `trusted_certs`."""
        return hashlib.sha1(self.trusted_certs.encode(), usedforsecurity=False).hexdigest()

    def permanent(self, agent_id: str) -> MbusCertificate:
        """Return what an agent works with."""
        return self._issue(f"{agent_id}.agent.bosh-internal")

    def bootstrap(self, agent_id: str) -> MbusCertificate:
        """Return what an agent is born with."""
        return self._issue(f"{agent_id}.bootstrap.agent.bosh-internal")

    def _issue(self, common_name: str) -> MbusCertificate:
        """Issue a certificate; `CertificateGenerationFailed` when CA and key do not fit."""
        signer = self._signer
        key = self._new_key()
        try:
            certificate = agent_certificate(
                common_name,
                key=key,
                signer=signer.certificate,
                signer_key=signer.key,
                not_before=datetime.now(UTC),
            )
        except SpecError:
            raise CertificateGenerationFailed(
                "NATS Client certificate generation error. CA Certificate/Private Key mismatch."
            ) from None
        return MbusCertificate(
            ca=self._bundle,
            certificate=write_certificates((certificate,)).decode(),
            private_key=to_pem(key, KeyForm.PKCS1).decode(),
        )

    @functools.cached_property
    def _signer(self) -> _Signer:
        """What the files hold, parsed once: OpenSSL checks an RSA key for 40 ms each time."""
        try:
            certificate = read_certificates(self._certificate).certificates[0]
            return _Signer(certificate, from_pem(self._key))
        except SpecError as error:
            raise CertificateGenerationFailed(
                "Error occurred while loading CA Certificate to generate NATS Client "
                f"certificates: {error.message}"
            ) from None


class VariableExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When one certificate ends."""

    certificate_path: str
    expiry: str
    days_left: int


class VariableExpiries:
    """What `bosh env --details` shows: when certificates of the director end.

    As in the real director (`certificate_expiry.json.erb`): read once, when it starts, of a bundle
    only the first certificate, and neither NATS's own nor the agents'. Only the days that are left
    are counted anew.
    """

    def __init__(self, config: DirectorConfig) -> None:
        files = {
            "director.ssl.cert": config.certificate,
            "nats.tls.ca": config.agents.bundle,
            "nats.tls.client_ca.certificate": config.agents.client_ca_certificate,
            "nats.tls.director.certificate": config.nats.certificate,
        }
        self._ends = {
            name: read_certificates(Path(path).read_bytes(), place=path).certificates[0].not_after
            for name, path in files.items()
        }

    def at(self, now: datetime) -> tuple[VariableExpiry, ...]:
        """Return what is listed at this instant."""
        return tuple(
            VariableExpiry(
                certificate_path=name,
                expiry=f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                days_left=(end - now).days,
            )
            for name, end in self._ends.items()
        )
