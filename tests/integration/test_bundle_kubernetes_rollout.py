"""A rollout to a real nats-server whose files come from the objects of a cluster.

No cluster runs here: the API server is a stand-in, and kubelet is played by a copy into the folder
that the server reads, a while after each write, as kubelet does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rigs import commands
from rigs import kubernetes_stand_in as stand_in
from rigs.kubernetes_stand_in import StandIn
from rigs.nats_fleet_rig import Rig, go_on, now, only, rig, seen
from rollover.codec.fleet_file import write_fleet
from rollover.delivery.kubernetes import ApiServerDelivery
from rollover.delivery.kubernetes_api import open_cluster
from rollover.delivery.kubernetes_objects import Volumes
from rollover.engine.ports import Pacing
from rollover.errors import ExitCode
from rollover.fleet.description import FleetDescription, KubernetesVolume
from rollover.fleet.description import KubernetesDelivery as Settings
from rollover.fleet.evidence import Applied, Failed
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.servers import NatsServers

SYNC_SECONDS = 3.0
ALONE = Pacing(canaries=1, max_in_flight=1)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Rig]:
    """One real server."""
    with rig(tmp_path) as running:
        yield running


class Pod:
    """The folder of a server, as a volume of a Secret that kubelet brings up to date."""

    def __init__(self, folder: Path, cluster: StandIn) -> None:
        self.folder = folder
        self.cluster = cluster
        files = {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}
        data = {name: base64.b64encode(each).decode() for name, each in files.items()}
        cluster.put("secrets", "n1-tls", data=data)
        self.syncs = 0

    def kubelet(self, seconds: float) -> None:
        """What happens while the delivery waits: the volume changes."""
        assert seconds <= SYNC_SECONDS
        self.syncs += 1
        for name in self.cluster.objects["nats", "secrets", "n1-tls"]["data"]:
            content = self.cluster.text("secrets", "n1-tls", name)
            (self.folder / name).write_bytes(content or b"")


def delivery(folder: Path, pod: Pod, kubeconfig: Path) -> ApiServerDelivery:
    """Return a delivery in whose wait kubelet acts."""
    return ApiServerDelivery(
        lambda: open_cluster(kubeconfig=kubeconfig),
        volumes=Volumes("nats", (KubernetesVolume(path=str(pod.folder), secret="n1-tls"),)),
        state=folder / "deliveries",
        sync_seconds=SYNC_SECONDS,
        pause=pod.kubelet,
    )


def platform(fleet: Rig, by: ApiServerDelivery) -> NatsServers:
    """Return the platform of the servers, with this delivery."""
    return NatsServers(
        DescribedGroup(fleet.group(), delivery=by, base=fleet.base),
        system=None,
        known=fleet,
        clock=now,
    )


def test_a_server_takes_what_was_written_to_its_secret(fleet: Rig, tmp_path: Path) -> None:
    """Both CAs are trusted after the rollout, by handshake; a refusal leaves it as it was."""
    with stand_in.running(tmp_path) as (cluster, kubeconfig):
        name = fleet.names[0]
        pod = Pod(Path(fleet.servers[0].folder), cluster)
        servers = platform(fleet, delivery(tmp_path, pod, kubeconfig))
        order = fleet.trust_both(name)
        applied = only(servers.roll_out((order,), pacing=ALONE, stopping=go_on))
        assert isinstance(applied, Applied), applied
        assert pod.syncs
        (observed,) = servers.observe((name,))
        assert set(seen(observed).trusts or ()) == set(fleet.both())
        assert not [text for text in cluster.names("secrets") if text.endswith("kept")]
        cluster.put("secrets", "n1-tls", immutable=True)
        refused = only(servers.roll_out((order,), pacing=ALONE, stopping=go_on))
        assert isinstance(refused, Failed)
        assert refused.restored
        assert "immutable" in refused.message


def test_a_fleet_file_is_enough_to_see_what_the_cluster_holds(fleet: Rig, tmp_path: Path) -> None:
    """`delivery: {by: kubernetes}` makes commands read the objects, and judge by them."""
    with stand_in.running(tmp_path) as (cluster, kubeconfig):
        pod = Pod(Path(fleet.servers[0].folder), cluster)
        volume = KubernetesVolume(path=str(pod.folder), secret="{instance}-tls")
        by = Settings(namespace="nats", volumes=(volume,), kubeconfig=kubeconfig.name)
        cluster.objects["nats", "secrets", f"{fleet.names[0]}-tls"] = cluster.objects[
            "nats", "secrets", "n1-tls"
        ]
        described = FleetDescription(
            version=1, name="prod", groups=(msgspec.structs.replace(fleet.group(), delivery=by),)
        )
        (tmp_path / "fleet.yml").write_bytes(write_fleet(described))
        (tmp_path / "old.pem").write_bytes(write_certificates((fleet.old.certificate,)))
        old = tmp_path / "old.pem"
        ran = commands.run("bundle", "diff", old, old, "--fleet", tmp_path / "fleet.yml")
        assert ran.code == ExitCode.DONE, ran.out + ran.talk
        assert ("GET", f"/api/v1/namespaces/nats/secrets/{fleet.names[0]}-tls") in cluster.requests
