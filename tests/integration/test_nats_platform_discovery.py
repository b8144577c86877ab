"""Discovery of a live cluster: from its configurations, and from its monitoring ports alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rigs.nats_fleet_rig import connected, rig, write_material
from rollover.fleet.certificate import Stack
from rollover.fleet.description import FleetDescription, links
from rollover.fleet.fleet import Availability, Touch
from rollover.platforms.nats.discovery import discover_fleet


def test_a_live_cluster_is_described_so_that_it_can_be_observed(tmp_path: Path) -> None:
    """The description of its configurations is complete for the servers, and names the client."""
    with rig(tmp_path, 2) as running:
        write_material(
            tmp_path / "c1", running.issue(running.old, "c1"), (running.old.certificate,)
        )
        with connected(running.servers[0].url, tmp_path / "c1", name="orders"):
            parts = [
                discover_fleet(
                    (item.folder / "server.conf",),
                    environment={},
                    working_directory=item.folder,
                )
                for item in running.servers
            ]
            from_ports = discover_fleet(
                (),
                environment={},
                monitors=[f"http://127.0.0.1:{item.monitor}" for item in running.servers],
            )
        for part, server in zip(parts, running.servers, strict=True):
            (described, *_) = part.description.groups
            platform = running.platform(system=False, group=described)
            (observed,) = platform.observe([server.name])
            assert observed.availability is Availability.READY, observed.why
            assert len(observed.endpoints) == 2
        clients = parts[0].description.groups[1]
        assert (clients.platform, clients.touch) == ("nats-client", Touch.RECONNECT)
        (client,) = clients.instances
        assert client.name == "orders"
        assert client.endpoints[0].stack is Stack.OPENSSL
        assert any("clients were found" in remark.message for remark in parts[0].remarks)
        servers, found = from_ports.description.groups
        assert [instance.name for instance in servers.instances] == ["n1", "n2"]
        assert [endpoint.role.value for endpoint in servers.instances[0].endpoints] == [
            "client-port",
            "route",
        ]
        assert [instance.name for instance in found.instances] == ["orders"]
        assert list(links(from_ports.description))
        text = msgspec.json.encode(from_ports.description)
        assert msgspec.json.decode(text, type=FleetDescription) == from_ports.description
