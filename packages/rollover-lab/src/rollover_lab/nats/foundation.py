"""Writes everything that a lab of nats-servers needs, before anything is started."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.codec.fleet_file import write_fleet
from rollover.fleet.certificate import Flags
from rollover.fleet.description import FleetDescription
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys
from rollover.store.credentials import open_credentials
from rollover.store.sealing import keys_from_file
from rollover_lab import machine, state
from rollover_lab.machine import FindPorts
from rollover_lab.nats import certificates
from rollover_lab.nats.certificates import LabAuthority, LabIssuer
from rollover_lab.nats.description import AUTHORITY, describe
from rollover_lab.nats.layout import NatsLayout
from rollover_lab.nats.server_config import ServerPorts, address, server_config
from rollover_lab.nats.spec import LabSpec, RateSpec
from rollover_lab.state import LabState, NatsContent, ProcessRecord, Program
from rollover_lab.traffic.spec import (
    CastClient,
    ClientProtocol,
    ClientRole,
    ClientSpec,
    TrafficSpec,
)

AUTHORITY_PATH = f"/authorities/{AUTHORITY}"
STREAM_REPLICAS = 3
FINISH_SECONDS = 3.0
"""How long the traffic waits at its end for messages that are still missing."""
_PLAIN_PORTS, _ALL_PORTS = 3, len(ServerPorts._fields)
"""A server of one cluster alone needs only the first three."""


class Foundation(NamedTuple):
    """What stays as it is when the ports have to be chosen anew."""

    layout: NatsLayout
    spec: LabSpec
    binary: Path
    parts: tuple[CastClient, ...]
    authorities: tuple[Fingerprint, ...]
    public: tuple[Fingerprint, ...]
    """The CAs of the public-style issuer, where there is one."""
    system_password: str


def lay_foundation(layout: NatsLayout, spec: LabSpec, *, binary: Path, now: datetime) -> Foundation:
    """Make the authorities, put them into the credential store, and issue every certificate."""
    authorities = [certificates.new_authority(spec.certificates, generation=1, now=now)]
    if spec.standby:
        authorities.append(certificates.new_authority(spec.certificates, generation=2, now=now))
    _store(layout, authorities, now=now)
    parts = cast_clients(spec)
    subjects = [
        subject
        for server in spec.servers
        for subject in certificates.server_subjects(
            layout, server, separate=spec.certificates.separate_files
        )
    ] + [certificates.client_subject(layout, part.name) for part in parts]
    subjects += [
        subject for member in spec.members for subject in certificates.port_subjects(layout, member)
    ]
    trusted = b"".join(authority.pem for authority in authorities)
    LabIssuer(authorities[0], spec.certificates, now).write(subjects, trusted=trusted)
    public = _gateways(layout, spec, now=now) if spec.supercluster else ()
    password = secrets.token_urlsafe(24)
    if spec.system_account:
        machine.write_private(layout.system_password, password.encode() + b"\n")
    return Foundation(
        layout=layout,
        spec=spec,
        binary=binary,
        parts=parts,
        authorities=tuple(authority.certificate.fingerprint for authority in authorities),
        public=public,
        system_password=password,
    )


def _gateways(layout: NatsLayout, spec: LabSpec, *, now: datetime) -> tuple[Fingerprint, ...]:
    """Make the public-style issuer and every gateway's files; return the issuer's CAs."""
    issuer = certificates.new_gateway_issuer(spec.certificates, now=now)
    certificates.keep_gateway_issuer(layout, issuer)
    for member in spec.members:
        if not member.leaf:
            by, paths = member.cluster.intermediate, layout.port(member.name, "gateway")
            issuer.write(paths, name=member.name, by=by, spec=spec.certificates, now=now)
            machine.write_private(paths.ca, issuer.trust(by, spec.gateway_trust))
    return tuple(certificate.fingerprint for certificate in issuer.certificates)


def write_on_ports(base: Foundation, find_ports: FindPorts) -> FleetDescription:
    """Choose ports, and write everything that names one; returns the fleet's description."""
    ports = _choose(base.spec, find_ports)
    for server in base.spec.servers:
        text = server_config(
            base.layout, base.spec, server, ports=ports, system_password=base.system_password
        )
        machine.write_private(base.layout.config(server), text.encode())
    description = describe(
        base.layout,
        base.spec,
        ports=ports,
        clients=base.parts,
        authorities=base.authorities,
        public=base.public,
        binary=base.binary,
    )
    machine.write_private(base.layout.fleet, write_fleet(description))
    machine.write_private(
        base.layout.traffic_spec, msgspec.json.encode(_traffic(base, ports=ports))
    )
    state.write(
        base.layout.lab.state,
        LabState(content=NatsContent(spec=base.spec), processes=_processes(base)),
    )
    return description


def _store(layout: NatsLayout, authorities: list[LabAuthority], *, now: datetime) -> None:
    """Import the authorities, the oldest signing, a standby one as the transitional version."""
    sealing = keys_from_file(layout.sealing_key)
    with open_credentials(layout.credentials, keys=sealing) as store:
        for number, authority in enumerate(authorities):
            store.add(
                AUTHORITY_PATH,
                authority.pem,
                key=SecretBytes(keys.to_pem(authority.key)),
                flags=Flags(signing=number == 0, transitional=number > 0, self_signed=True),
                at=now,
            )


def _choose(spec: LabSpec, find_ports: FindPorts) -> dict[str, ServerPorts]:
    count = _PLAIN_PORTS if spec.plain else _ALL_PORTS
    # All at once: asked for one after another, two servers could be given the same.
    found = find_ports(len(spec.servers) * count)
    return {
        server: ServerPorts(*found[number * count : (number + 1) * count])
        for number, server in enumerate(spec.servers)
    }


def _traffic(base: Foundation, *, ports: dict[str, ServerPorts]) -> TrafficSpec:
    return TrafficSpec(
        servers=tuple(f"tls://{address(port.client)}" for port in ports.values()),
        clients=tuple(_client(base, part, ports=ports) for part in base.parts),
        report=str(base.layout.traffic_report),
        replicas=min(STREAM_REPLICAS, *(cluster.servers for cluster in base.spec.clusters)),
        finish_seconds=FINISH_SECONDS,
    )


def _client(base: Foundation, part: CastClient, *, ports: dict[str, ServerPorts]) -> ClientSpec:
    files = base.layout.client_material(part.name)
    return ClientSpec(
        servers=tuple(
            _url(ports[member.name], part.port)
            for member in base.spec.members
            if member.cluster.name == part.cluster and not member.leaf
        ),
        name=part.name,
        role=part.role,
        certificate=str(files.certificate),
        key=str(files.key),
        ca=str(files.ca),
        rate_per_second=part.rate_per_second,
        rotating=base.spec.rotating_clients,
        status_file=str(base.layout.status(part.name)) if base.spec.rotating_clients else "",
    )


def _url(ports: ServerPorts, port: ClientProtocol) -> str:
    match port:
        case ClientProtocol.NATS:
            return f"tls://{address(ports.client)}"
        case ClientProtocol.WEBSOCKET:
            return f"wss://{address(ports.websocket)}"
        case ClientProtocol.MQTT:
            return f"mqtts://{address(ports.mqtt)}"


def _processes(base: Foundation) -> tuple[ProcessRecord, ...]:
    programs = [_server(base, name) for name in base.spec.servers]
    if base.parts:
        programs.append(_traffic_program(base.layout))
    return tuple(ProcessRecord(program=program) for program in programs)


def _server(base: Foundation, name: str) -> Program:
    layout = base.layout
    return Program(
        name=name,
        argv=(str(base.binary), "-c", str(layout.config(name))),
        directory=str(layout.server(name)),
        output=str(layout.output(name)),
        logs=(str(layout.log(name)),),
    )


def _traffic_program(layout: NatsLayout) -> Program:
    return Program(
        name=state.TRAFFIC,
        argv=(sys.executable, "-m", "rollover_lab.traffic", "--spec", str(layout.traffic_spec)),
        directory=str(layout.root),
        output=str(layout.traffic_log),
    )


# How the parts of the traffic are shared out among a lab's clients.


MOST_DELIVERIES_PER_SECOND = 800.0
"""Of each kind: what clients in one Python process take in on two cores, with time left for a
rotation beside them."""

_SHARES = {
    ClientRole.PUBLISHER: 4,
    ClientRole.SUBSCRIBER: 8,
    ClientRole.REQUESTER: 2,
    ClientRole.RESPONDER: 2,
    ClientRole.JS_PUBLISHER: 2,
    ClientRole.JS_CONSUMER: 2,
}
"""Out of 20 clients. In the order in which a small lab gives out its first parts."""

_JETSTREAM = frozenset({ClientRole.JS_PUBLISHER, ClientRole.JS_CONSUMER})


def cast_clients(spec: LabSpec) -> tuple[CastClient, ...]:
    """Return a part for each client of the lab: all roles where there are enough clients.

    Every subscriber hears every publisher; the senders of a kind slow down so far that all
    deliveries stay below `MOST_DELIVERIES_PER_SECOND`. Several clusters have the clients in turn.
    """
    return (*_placed(_of_nats(spec), spec), *_of_mqtt(spec))


def _of_nats(spec: LabSpec) -> tuple[CastClient, ...]:
    stores = any(cluster.jetstream for cluster in spec.clusters)
    roles = [role for role in _SHARES if stores or role not in _JETSTREAM]
    counts = _shared_out(spec.clients, {role: _SHARES[role] for role in roles})
    return tuple(
        CastClient(f"{role}-{number}", role, _rate(role, counts, spec.rates))
        for role in roles
        for number in range(1, counts[role] + 1)
    )


def _placed(parts: tuple[CastClient, ...], spec: LabSpec) -> Iterator[CastClient]:
    """Yield the parts with their clusters, every second one of those with `websocket` there."""
    if spec.plain:
        yield from parts
        return
    counts: Counter[str] = Counter()
    for part, cluster in zip(parts, cycle(spec.clusters), strict=False):
        through = cluster.websocket and counts[cluster.name] % 2 == 0
        counts[cluster.name] += 1
        port = ClientProtocol.WEBSOCKET if through else ClientProtocol.NATS
        yield part._replace(cluster=cluster.name, port=port)


def _of_mqtt(spec: LabSpec) -> Iterator[CastClient]:
    """Yield MQTT clients, publishers and subscribers in turn."""
    clusters = [
        cluster
        for cluster in spec.clusters
        for _ in range(cluster.mqtt_clients if cluster.mqtt else 0)
    ]
    roles = cycle((ClientRole.MQTT_PUBLISHER, ClientRole.MQTT_SUBSCRIBER))
    parts = list(zip(clusters, roles, strict=False))
    counts = Counter(role for _, role in parts)
    numbers: Counter[ClientRole] = Counter()
    for cluster, role in parts:
        numbers[role] += 1
        name, rate = f"{role}-{numbers[role]}", _rate(role, counts, spec.rates)
        yield CastClient(name, role, rate, cluster=cluster.name, port=ClientProtocol.MQTT)


def _shared_out(total: int, shares: dict[ClientRole, int]) -> dict[ClientRole, int]:
    """Share `total` out by d'Hondt's rule, after one for each as far as that goes."""
    first = list(shares)[:total]
    counts = {role: int(role in first) for role in shares}
    for _ in range(total - len(first)):
        counts[max(shares, key=lambda role: shares[role] / (counts[role] + 1))] += 1
    return counts


def _rate(role: ClientRole, counts: Mapping[ClientRole, int], rates: RateSpec) -> float:
    match role:
        case ClientRole.PUBLISHER:
            return _bounded(rates.publish_per_second, counts[role] * counts[ClientRole.SUBSCRIBER])
        case ClientRole.REQUESTER:
            return _bounded(rates.request_per_second, counts[role])
        case ClientRole.JS_PUBLISHER:
            return _bounded(
                rates.jetstream_per_second, counts[role] * counts[ClientRole.JS_CONSUMER]
            )
        case ClientRole.MQTT_PUBLISHER:
            hearings = counts[role] * counts[ClientRole.MQTT_SUBSCRIBER]
            return _bounded(rates.jetstream_per_second, hearings)
        case _:
            return 0.0


def _bounded(per_second: float, hearings: int) -> float:
    return min(per_second, MOST_DELIVERIES_PER_SECOND / max(1, hearings))
