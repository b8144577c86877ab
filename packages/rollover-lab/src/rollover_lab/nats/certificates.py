"""Issues a lab's certificates: by its authorities, and for gateways by a public-style issuer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys, pem
from rollover.pki.issue import (
    CLIENT,
    GATEWAY,
    LEAF_NODE,
    ROUTE,
    SERVER,
    Profile,
    cross_sign,
    issue_authority,
    issue_leaf,
)
from rollover.pki.keys import PrivateKey
from rollover_lab import machine
from rollover_lab.nats.layout import MaterialPaths, NatsLayout
from rollover_lab.nats.spec import CertificateSpec, GatewayTrust, Intermediate, LabServer

SERVER_NAMES = ("localhost", "127.0.0.1", "::1")


class LabAuthority(NamedTuple):
    """A CA with its private key."""

    certificate: Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return pem.write_certificates((self.certificate,))


class LeafSubject(NamedTuple):
    """One certificate to make: for whom, of which profile, and where its files go."""

    name: str
    profile: Profile
    names: tuple[str, ...]
    paths: MaterialPaths


class LabIssuer(NamedTuple):
    """Makes the leaves of a lab, of one authority and at one instant."""

    authority: LabAuthority
    spec: CertificateSpec
    now: datetime

    def write(self, subjects: Iterable[LeafSubject], *, trusted: bytes) -> None:
        """Write key, leaf and the bundle `trusted` of every subject; replaces older files."""
        for subject, key in _with_keys(tuple(subjects), self.spec.leaf_key):
            leaf = issue_leaf(
                profile=subject.profile,
                common_name=subject.name,
                names=subject.names,
                key=key,
                authority=self.authority.certificate,
                authority_key=self.authority.key,
                not_before=self.now,
                lifetime=timedelta(days=self.spec.leaf_days),
            )
            machine.write_private(subject.paths.key, keys.to_pem(key))
            machine.write_private(subject.paths.certificate, pem.write_certificates((leaf,)))
            machine.write_private(subject.paths.ca, trusted)


def new_authority(spec: CertificateSpec, *, generation: int, now: datetime) -> LabAuthority:
    """Return a fresh CA whose common name carries its generation, counted from 1."""
    key = keys.generate(spec.authority_key)
    certificate = issue_authority(
        common_name=f"{spec.authority_name} {generation}",
        key=key,
        not_before=now,
        lifetime=timedelta(days=spec.authority_days),
    )
    return LabAuthority(certificate, key)


def server_subjects(layout: NatsLayout, server: str, *, separate: bool) -> tuple[LeafSubject, ...]:
    """Return what a server needs: one certificate, or one for each of its two ports.

    All have both usages: routes dial and accept with the same certificate.
    """
    paths = dict.fromkeys(
        (layout.client_port(server), layout.route_port(server, separate=separate))
    )
    return tuple(LeafSubject(server, ROUTE, SERVER_NAMES, path) for path in paths)


def port_subjects(layout: NatsLayout, member: LabServer) -> tuple[LeafSubject, ...]:
    """Return what the further ports of a server need, those of its gateway not among them."""
    cluster = member.cluster
    wanted = {
        "leaf-remote": (LEAF_NODE, member.leaf),
        "leafnode": (LEAF_NODE, cluster.leaf_nodes > 0 and not member.leaf),
        "websocket": (SERVER, cluster.websocket and not member.leaf),
        "mqtt": (SERVER, cluster.mqtt and not member.leaf),
    }
    return tuple(
        LeafSubject(member.name, profile, SERVER_NAMES, layout.port(member.name, kind))
        for kind, (profile, there) in wanted.items()
        if there
    )


def client_subject(layout: NatsLayout, client: str) -> LeafSubject:
    """Return what a client needs."""
    return LeafSubject(client, CLIENT, (client,), layout.client_material(client))


def _with_keys(
    subjects: tuple[LeafSubject, ...], kind: KeyKind
) -> Iterator[tuple[LeafSubject, PrivateKey]]:
    # RSA keys leave the interpreter free while they are made: two cores make them twice as fast.
    with ThreadPoolExecutor(thread_name_prefix="keys") as pool:
        yield from zip(subjects, pool.map(keys.generate, [kind] * len(subjects)), strict=True)


GATEWAY_ORGANIZATION = "Public Issuer of the Lab"
GATEWAY_ROOT = "Lab Root X1"
ROOT_FILE, BUNDLE_FILE = "root.pem", "cabundle.pem"
_LIFETIME = timedelta(days=3650)


class GatewayIssuer(NamedTuple):
    """A public-style issuer: one root, several intermediates, and leaves from any of them.

    Its like is what clusters in several places get their gateway certificates from. It may change
    from one intermediate to its standby any day, and tells nobody.
    """

    root: Certificate
    intermediates: dict[Intermediate, LabAuthority]

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every CA that a leaf can come from, in their order."""
        return tuple(intermediate.certificate for intermediate in self.intermediates.values())

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
        machine.write_private(paths.key, keys.to_pem(key))
        chain = pem.write_certificates((leaf, signing.certificate))
        machine.write_private(paths.certificate, chain)


def new_gateway_issuer(spec: CertificateSpec, *, now: datetime) -> GatewayIssuer:
    """Return a fresh issuer: a root, and every intermediate that it has."""
    root_key = keys.generate(spec.authority_key)
    root = issue_authority(
        common_name=GATEWAY_ROOT,
        organization=GATEWAY_ORGANIZATION,
        key=root_key,
        not_before=now,
        lifetime=_LIFETIME,
    )
    intermediates = {}
    for name in Intermediate:
        key = keys.generate(spec.authority_key)
        own = issue_authority(
            common_name=name.value,
            organization=GATEWAY_ORGANIZATION,
            key=key,
            not_before=now,
            lifetime=_LIFETIME,
            path_length=0,
        )
        signed = cross_sign(own, by=root, by_key=root_key, not_before=now)
        intermediates[name] = LabAuthority(signed, key)
    return GatewayIssuer(root, intermediates)


def keep_gateway_issuer(layout: NatsLayout, issuer: GatewayIssuer) -> None:
    """Write the issuer down, so that certificates can be renewed while the lab runs."""
    machine.write_private(layout.issuer / ROOT_FILE, pem.write_certificates((issuer.root,)))
    bundle = pem.write_certificates(issuer.certificates)
    machine.write_private(layout.issuer / BUNDLE_FILE, bundle)
    for name, authority in issuer.intermediates.items():
        machine.write_private(_gateway_certificate(layout, name), authority.pem)
        machine.write_private(_gateway_key(layout, name), keys.to_pem(authority.key))


def load_gateway_issuer(layout: NatsLayout) -> GatewayIssuer:
    """Read what `keep_gateway_issuer` wrote; OSError when the lab has no such issuer."""
    (root,) = pem.read_certificates((layout.issuer / ROOT_FILE).read_bytes()).certificates
    return GatewayIssuer(root, {name: _gateway_authority(layout, name) for name in Intermediate})


def _gateway_authority(layout: NatsLayout, name: Intermediate) -> LabAuthority:
    path = _gateway_certificate(layout, name)
    (certificate,) = pem.read_certificates(path.read_bytes(), place=str(path)).certificates
    key = SecretBytes(_gateway_key(layout, name).read_bytes())
    return LabAuthority(certificate, keys.from_pem(key.reveal(), place=str(path)))


def _gateway_certificate(layout: NatsLayout, name: Intermediate) -> Path:
    return layout.issuer / f"{name.value}.pem"


def _gateway_key(layout: NatsLayout, name: Intermediate) -> Path:
    return layout.issuer / f"{name.value}-key.pem"
