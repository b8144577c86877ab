"""What agents get to reach NATS: certificates, signed as the real director signs them."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.pki.keys import KeyForm, PrivateKey, from_pem, to_pem
from rollover.pki.pem import read_certificates, write_certificates
from rollover.platforms.bosh.standins import agent_certificate
from rollover_lab.bosh.director.agent_keys import NewKey, own_key
from rollover_lab.bosh.director.refusals import CertificateGenerationFailed
from rollover_lab.bosh.rendered import AgentCredentials


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


class Credentials:
    """Signs certificates for agents; reads its files once, as the director does when it starts."""

    def __init__(
        self, files: AgentCredentials, *, trusted_certs: str, new_key: NewKey = own_key
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
