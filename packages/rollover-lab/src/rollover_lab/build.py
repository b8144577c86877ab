"""Writes everything that a lab needs into its directory, before anything is started."""

from __future__ import annotations

import secrets
import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.codec.fleet_file import write_fleet
from rollover.fleet.credential import Flags
from rollover.fleet.description import FleetDescription
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys
from rollover.store.sealing import keys_from_file
from rollover.store.sqlite_credentials import open_credentials
from rollover_lab import cast, gateway_issuer, material, private_files, record
from rollover_lab.configuration import ServerPorts, address, server_config
from rollover_lab.described import AUTHORITY, describe
from rollover_lab.layout import Layout
from rollover_lab.material import Issuer, LabAuthority
from rollover_lab.ports import FindPorts
from rollover_lab.record import LabState, NatsContent, ProcessRecord, Program
from rollover_lab.spec import LabSpec
from rollover_lab.traffic.spec import ClientSpec, Part, Port, TrafficSpec

AUTHORITY_PATH = f"/authorities/{AUTHORITY}"
STREAM_REPLICAS = 3
FINISH_SECONDS = 3.0
"""How long the traffic waits at its end for messages that are still missing."""
_PLAIN_PORTS, _ALL_PORTS = 3, len(ServerPorts._fields)
"""A server of one cluster alone needs only the first three."""


class Foundation(NamedTuple):
    """What stays as it is when the ports have to be chosen anew."""

    layout: Layout
    spec: LabSpec
    binary: Path
    parts: tuple[Part, ...]
    authorities: tuple[Fingerprint, ...]
    public: tuple[Fingerprint, ...]
    """The CAs of the public-style issuer, where there is one."""
    system_password: str


def lay_foundation(layout: Layout, spec: LabSpec, *, binary: Path, now: datetime) -> Foundation:
    """Make the authorities, put them into the credential store, and issue every certificate."""
    authorities = [material.new_authority(spec.certificates, generation=1, now=now)]
    if spec.standby:
        authorities.append(material.new_authority(spec.certificates, generation=2, now=now))
    _store(layout, authorities, now=now)
    parts = cast.play(spec)
    subjects = [
        subject
        for server in spec.servers
        for subject in material.server_subjects(
            layout, server, separate=spec.certificates.separate_files
        )
    ] + [material.client_subject(layout, part.name) for part in parts]
    subjects += [
        subject for member in spec.members for subject in material.port_subjects(layout, member)
    ]
    trusted = b"".join(authority.pem for authority in authorities)
    Issuer(authorities[0], spec.certificates, now).write(subjects, trusted=trusted)
    public = _gateways(layout, spec, now=now) if spec.supercluster else ()
    password = secrets.token_urlsafe(24)
    if spec.system_account:
        private_files.write(layout.system_password, password.encode() + b"\n")
    return Foundation(
        layout=layout,
        spec=spec,
        binary=binary,
        parts=parts,
        authorities=tuple(authority.certificate.fingerprint for authority in authorities),
        public=public,
        system_password=password,
    )


def _gateways(layout: Layout, spec: LabSpec, *, now: datetime) -> tuple[Fingerprint, ...]:
    """Make the public-style issuer and every gateway's files; return the issuer's CAs."""
    issuer = gateway_issuer.new_issuer(spec.certificates, now=now)
    gateway_issuer.keep(layout, issuer)
    for member in spec.members:
        if not member.leaf:
            by, paths = member.cluster.intermediate, layout.port(member.name, "gateway")
            issuer.write(paths, name=member.name, by=by, spec=spec.certificates, now=now)
            private_files.write(paths.ca, issuer.trust(by, spec.gateway_trust))
    return tuple(each.fingerprint for each in issuer.certificates)


def write_on_ports(base: Foundation, find_ports: FindPorts) -> FleetDescription:
    """Choose ports, and write everything that names one; returns the fleet's description."""
    ports = _choose(base.spec, find_ports)
    for server in base.spec.servers:
        text = server_config(
            base.layout, base.spec, server, ports=ports, system_password=base.system_password
        )
        private_files.write(base.layout.config(server), text.encode())
    description = describe(
        base.layout,
        base.spec,
        ports=ports,
        clients=base.parts,
        authorities=base.authorities,
        public=base.public,
        binary=base.binary,
    )
    private_files.write(base.layout.fleet, write_fleet(description))
    private_files.write(base.layout.traffic_spec, msgspec.json.encode(_traffic(base, ports=ports)))
    record.write(
        base.layout.lab.state,
        LabState(content=NatsContent(spec=base.spec), processes=_processes(base)),
    )
    return description


def _store(layout: Layout, authorities: list[LabAuthority], *, now: datetime) -> None:
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
    each = _PLAIN_PORTS if spec.plain else _ALL_PORTS
    found = find_ports(len(spec.servers) * each)
    return {
        server: ServerPorts(*found[at * each : (at + 1) * each])
        for at, server in enumerate(spec.servers)
    }


def _traffic(base: Foundation, *, ports: dict[str, ServerPorts]) -> TrafficSpec:
    return TrafficSpec(
        servers=tuple(f"tls://{address(each.client)}" for each in ports.values()),
        clients=tuple(_client(base, part, ports=ports) for part in base.parts),
        report=str(base.layout.traffic_report),
        replicas=min(STREAM_REPLICAS, *(cluster.servers for cluster in base.spec.clusters)),
        finish_seconds=FINISH_SECONDS,
    )


def _client(base: Foundation, part: Part, *, ports: dict[str, ServerPorts]) -> ClientSpec:
    files = base.layout.client_material(part.name)
    return ClientSpec(
        servers=tuple(
            _url(ports[each.name], part.port)
            for each in base.spec.members
            if each.cluster.name == part.cluster and not each.leaf
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


def _url(ports: ServerPorts, port: Port) -> str:
    match port:
        case Port.NATS:
            return f"tls://{address(ports.client)}"
        case Port.WEBSOCKET:
            return f"wss://{address(ports.websocket)}"
        case Port.MQTT:
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


def _traffic_program(layout: Layout) -> Program:
    return Program(
        name=record.TRAFFIC,
        argv=(sys.executable, "-m", "rollover_lab.traffic", "--spec", str(layout.traffic_spec)),
        directory=str(layout.root),
        output=str(layout.traffic_log),
    )
