"""A public-style issuer: one root, several intermediates, and leaves from whichever it likes.

Its like is what clusters in several places get their gateway certificates from. It may change
from one intermediate to its standby any day, and tells nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys, pem
from rollover.pki.crosssign import cross_sign
from rollover.pki.issue import issue_authority, issue_leaf
from rollover.pki.profiles import GATEWAY
from rollover_lab import private_files
from rollover_lab.layout import Layout, MaterialPaths
from rollover_lab.material import SERVER_NAMES, LabAuthority
from rollover_lab.spec import CertificateSpec, GatewayTrust, Intermediate

ORGANIZATION = "Public Issuer of the Lab"
ROOT = "Lab Root X1"
ROOT_FILE, BUNDLE_FILE = "root.pem", "cabundle.pem"
_LIFETIME = timedelta(days=3650)


class GatewayIssuer(NamedTuple):
    """The issuer, with the keys of all of its intermediates."""

    root: Certificate
    intermediates: dict[Intermediate, LabAuthority]

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every CA that a leaf can come from, in their order."""
        return tuple(each.certificate for each in self.intermediates.values())

    def trust(self, by: Intermediate, trust: GatewayTrust) -> bytes:
        """Return the `ca_file` of a gateway whose certificate an intermediate signed."""
        if trust is GatewayTrust.ISSUER:
            return self.intermediates[by].pem
        return pem.write_certificates(self.certificates)

    def write(
        self,
        paths: MaterialPaths,
        *,
        name: str,
        by: Intermediate,
        spec: CertificateSpec,
        now: datetime,
    ) -> None:
        """Write a new key and a chain, leaf first, for the gateway of a server."""
        signing = self.intermediates[by]
        key = keys.generate(spec.leaf_key)
        leaf = issue_leaf(
            profile=GATEWAY,
            common_name=f"{name} gateway",
            names=SERVER_NAMES,
            key=key,
            authority=signing.certificate,
            authority_key=signing.key,
            not_before=now,
            lifetime=timedelta(days=spec.leaf_days),
        )
        private_files.write(paths.key, keys.to_pem(key))
        chain = pem.write_certificates((leaf, signing.certificate))
        private_files.write(paths.certificate, chain)


def new_issuer(spec: CertificateSpec, *, now: datetime) -> GatewayIssuer:
    """Return a fresh issuer: a root, and every intermediate that it has."""
    root_key = keys.generate(spec.authority_key)
    root = issue_authority(
        common_name=ROOT,
        organization=ORGANIZATION,
        key=root_key,
        not_before=now,
        lifetime=_LIFETIME,
    )
    intermediates = {}
    for each in Intermediate:
        key = keys.generate(spec.authority_key)
        own = issue_authority(
            common_name=each.value,
            organization=ORGANIZATION,
            key=key,
            not_before=now,
            lifetime=_LIFETIME,
            path_length=0,
        )
        signed = cross_sign(own, by=root, by_key=root_key, not_before=now)
        intermediates[each] = LabAuthority(signed, key)
    return GatewayIssuer(root, intermediates)


def keep(layout: Layout, issuer: GatewayIssuer) -> None:
    """Write the issuer down, so that certificates can be renewed while the lab runs."""
    private_files.write(layout.issuer / ROOT_FILE, pem.write_certificates((issuer.root,)))
    bundle = pem.write_certificates(issuer.certificates)
    private_files.write(layout.issuer / BUNDLE_FILE, bundle)
    for name, authority in issuer.intermediates.items():
        private_files.write(_certificate(layout, name), authority.pem)
        private_files.write(_key(layout, name), keys.to_pem(authority.key))


def load(layout: Layout) -> GatewayIssuer:
    """Read what `keep` wrote; OSError when the lab has no such issuer."""
    (root,) = pem.read_certificates((layout.issuer / ROOT_FILE).read_bytes()).certificates
    return GatewayIssuer(root, {each: _authority(layout, each) for each in Intermediate})


def _authority(layout: Layout, name: Intermediate) -> LabAuthority:
    path = _certificate(layout, name)
    (certificate,) = pem.read_certificates(path.read_bytes(), place=str(path)).certificates
    key = SecretBytes(_key(layout, name).read_bytes())
    return LabAuthority(certificate, keys.from_pem(key.reveal(), place=str(path)))


def _certificate(layout: Layout, name: Intermediate) -> Path:
    return layout.issuer / f"{name.value}.pem"


def _key(layout: Layout, name: Intermediate) -> Path:
    return layout.issuer / f"{name.value}-key.pem"
