"""The certificates of a lab: its authorities, and what its servers and clients present."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from rollover.fleet.certificate import Certificate, KeyKind
from rollover.pki import keys, pem
from rollover.pki.issue import issue_authority, issue_leaf
from rollover.pki.keys import PrivateKey
from rollover.pki.profiles import CLIENT, LEAF_NODE, ROUTE, SERVER, Profile
from rollover_lab import private_files
from rollover_lab.layout import Layout, MaterialPaths
from rollover_lab.spec import CertificateSpec, Member

SERVER_NAMES = ("localhost", "127.0.0.1", "::1")


class LabAuthority(NamedTuple):
    """A CA with its private key."""

    certificate: Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return pem.write_certificates((self.certificate,))


class Subject(NamedTuple):
    """One certificate to make: for whom, of which profile, and where its files go."""

    name: str
    profile: Profile
    names: tuple[str, ...]
    paths: MaterialPaths


class Issuer(NamedTuple):
    """Makes the leaves of a lab, of one authority and at one instant."""

    authority: LabAuthority
    spec: CertificateSpec
    now: datetime

    def write(self, subjects: Iterable[Subject], *, trusted: bytes) -> None:
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
            private_files.write(subject.paths.key, keys.to_pem(key))
            private_files.write(subject.paths.certificate, pem.write_certificates((leaf,)))
            private_files.write(subject.paths.ca, trusted)


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


def server_subjects(layout: Layout, server: str, *, separate: bool) -> tuple[Subject, ...]:
    """Return what a server needs: one certificate, or one for each of its two ports.

    All have both usages: routes dial and accept with the same certificate.
    """
    paths = dict.fromkeys(
        (layout.client_port(server), layout.route_port(server, separate=separate))
    )
    return tuple(Subject(server, ROUTE, SERVER_NAMES, each) for each in paths)


def port_subjects(layout: Layout, member: Member) -> tuple[Subject, ...]:
    """Return what the further ports of a server need, those of its gateway not among them."""
    cluster = member.cluster
    wanted = {
        "leaf-remote": (LEAF_NODE, member.leaf),
        "leafnode": (LEAF_NODE, cluster.leaf_nodes > 0 and not member.leaf),
        "websocket": (SERVER, cluster.websocket and not member.leaf),
        "mqtt": (SERVER, cluster.mqtt and not member.leaf),
    }
    return tuple(
        Subject(member.name, profile, SERVER_NAMES, layout.port(member.name, kind))
        for kind, (profile, there) in wanted.items()
        if there
    )


def client_subject(layout: Layout, client: str) -> Subject:
    """Return what a client needs."""
    return Subject(client, CLIENT, (client,), layout.client_material(client))


def _with_keys(
    subjects: tuple[Subject, ...], kind: KeyKind
) -> Iterator[tuple[Subject, PrivateKey]]:
    # RSA keys leave the interpreter free while they are made: two cores make them twice as fast.
    with ThreadPoolExecutor(thread_name_prefix="keys") as pool:
        yield from zip(subjects, pool.map(keys.generate, [kind] * len(subjects)), strict=True)
