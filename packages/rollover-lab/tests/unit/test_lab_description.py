"""The configuration and the fleet description that a lab is given."""

from __future__ import annotations

from pathlib import Path

import msgspec

import nats_config
from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.fleet.description import FleetDescription, links, slots
from rollover.fleet.fleet import Touch
from rollover.fleet.names import Fingerprint
from rollover_lab.nats.description import describe
from rollover_lab.nats.layout import NatsLayout
from rollover_lab.nats.server_config import ServerPorts, server_config
from rollover_lab.nats.spec import CertificateSpec, ClusterSpec, LabSpec
from rollover_lab.traffic.spec import CastClient, ClientRole

LAYOUT = NatsLayout(Path("/demo"))
PORTS = {f"n{n}": ServerPorts(4200 + n, 6200 + n, 8200 + n) for n in (1, 2, 3)}
ALONE = {"n1": PORTS["n1"]}
SPEC = LabSpec(name="mine")
CLIENTS = (
    CastClient("publisher-1", ClientRole.PUBLISHER),
    CastClient("subscriber-1", ClientRole.SUBSCRIBER),
)


def _described(spec: LabSpec = SPEC, *, alone: bool = False) -> FleetDescription:
    return describe(
        LAYOUT,
        spec,
        ports=ALONE if alone else PORTS,
        clients=CLIENTS,
        authorities=(Fingerprint("ab" * 32),),
        binary=Path("/bin/nats-server"),
    )


def _config(spec: LabSpec = SPEC) -> str:
    return server_config(LAYOUT, spec, "n1", ports=PORTS, system_password="throw-away")


def test_every_pair_of_servers_and_every_client_is_linked() -> None:
    """Three servers dial each other, and each client dials every server."""
    names = [str(link) for link in links(_described())]
    assert len(names) == 3 * 2 + len(CLIENTS) * 3
    assert "n1/route → n2/route" in names
    assert "publisher-1/client → n3/client-port" in names


def test_links_expect_the_address_that_is_dialled() -> None:
    """Every link is mutual and expects the loopback address."""
    assert {(link.name, link.mutual) for link in links(_described())} == {("127.0.0.1", True)}


def test_the_lab_follows_its_own_advice(tmp_path: Path) -> None:
    """No server of a supercluster has an option that does nothing, such as a WebSocket timeout."""
    spec = LabSpec(name="mine", clusters=(ClusterSpec(servers=1, websocket=True, mqtt=True),))
    text = _config(spec)
    assert "websocket {" in text
    assert "mqtt {" in text
    path = tmp_path / "n1.conf"
    path.write_text(text, encoding="utf-8")
    read = nats_config.read_config(path, environment={})
    assert not nats_config.read_server_config(read, cwd="/").remarks


def test_a_lone_server_has_no_route_port() -> None:
    """One server alone is described, and configured, without a cluster."""
    (server,) = _described(alone=True).groups[0].instances
    assert [endpoint.name for endpoint in server.endpoints] == ["client-port"]
    lone = LabSpec(name="mine", clusters=(ClusterSpec(servers=1),))
    assert "cluster {" not in _config(lone)


def test_ports_share_their_files_unless_told_otherwise() -> None:
    """The two ports of a server hold one chain, or two with `separate_files`."""
    separate = msgspec.structs.replace(SPEC, certificates=CertificateSpec(separate_files=True))
    for spec, count in ((SPEC, 1), (separate, 2)):
        chains, bundles = slots(_described(spec).groups[0].instances[0])
        assert len(set(chains.values())) == len(set(bundles.values())) == count


def test_the_description_survives_its_file() -> None:
    """What is written to fleet.yml reads back the same."""
    described = _described()
    assert read_fleet(write_fleet(described), place="fleet.yml") == described


def test_plain_clients_must_reconnect_and_report_nothing() -> None:
    """Clients that do not rotate are described by what it takes to change them."""
    plain = _described(msgspec.structs.replace(SPEC, rotating_clients=False)).groups[1]
    assert plain.touch is Touch.RECONNECT
    assert {instance.status_file for instance in plain.instances} == {None}
    rotating = _described().groups[1]
    assert rotating.touch is Touch.WATCH
    assert rotating.instances[0].status_file == "/demo/clients/publisher-1/status.json"


def test_the_system_account_and_monitoring_can_be_left_out() -> None:
    """Without them neither configuration nor description speaks of them."""
    spec = msgspec.structs.replace(SPEC, system_account=False, monitoring=False)
    described, config = _described(spec), _config(spec)
    assert described.system is None
    assert {server.monitor for server in described.groups[0].instances} == {None}
    assert "http:" not in config
    assert "throw-away" not in config


def test_the_password_stands_in_no_description() -> None:
    """fleet.yml names the password's file, never the password."""
    system = _described().system
    assert system is not None
    assert system.password_file == "/demo/system.password"
    assert "throw-away" in _config()


def test_routes_form_a_full_mesh() -> None:
    """A server is told every peer's route port, not its own."""
    config = _config()
    assert '"nats-route://127.0.0.1:6202"' in config
    assert '"nats-route://127.0.0.1:6203"' in config
    assert '"nats-route://127.0.0.1:6201"' not in config


def test_a_cluster_may_go_without_jetstream() -> None:
    """Without JetStream the configuration does not speak of it."""
    spec = msgspec.structs.replace(SPEC, clusters=(ClusterSpec(jetstream=False),))
    assert "jetstream" not in _config(spec)
