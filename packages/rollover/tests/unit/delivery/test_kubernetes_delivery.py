"""Files of pods delivered through the API server: whole or not at all, kept, taken back, mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rigs import kubernetes_stand_in as stand_in
from rigs.kubernetes_stand_in import StandIn
from rigs.workspace import EXAMPLES
from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.delivery.kubernetes import ApiServerDelivery, delivery_of
from rollover.delivery.kubernetes_api import open_cluster
from rollover.delivery.kubernetes_objects import Volumes
from rollover.engine.ports import DeliveredFile
from rollover.errors import (
    Conflict,
    Denied,
    NotFound,
    Rejected,
    RolloverError,
    SpecError,
    TimedOut,
)
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
    KubernetesVolume,
)
from rollover.fleet.description import KubernetesDelivery as Settings
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes

VOLUMES = (
    KubernetesVolume(path="/etc/nats-certs", secret="nats-tls-{instance}"),
    KubernetesVolume(path="/etc/nats-ca", config_map="nats-ca"),
)
LEAF, KEY, CA = "/etc/nats-certs/tls.crt", "/etc/nats-certs/tls.key", "/etc/nats-ca/ca.crt"
OLD = {LEAF: b"old leaf", KEY: b"old key", CA: b"old ca"}
NEW = (
    DeliveredFile(path=LEAF, content=b"new leaf"),
    DeliveredFile(path=KEY, content=SecretBytes(b"new key")),
    DeliveredFile(path=CA, content=b"new ca"),
)


class Rig:
    """A cluster with the objects of `n1`, a delivery, and how long it waited."""

    def __init__(self, folder: Path, cluster: StandIn, kubeconfig: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.waited: list[float] = []
        cluster.put(
            "secrets",
            "nats-tls-n1",
            type="kubernetes.io/tls",
            data={"tls.crt": "b2xkIGxlYWY=", "tls.key": "b2xkIGtleQ==", "mine": "bQ=="},
        )
        cluster.put("configmaps", "nats-ca", data={"ca.crt": "old ca"})  # fmt: skip

    def delivery(
        self, *, mounted: str | None = None, pause: Callable[[float], None] | None = None,
        sync_seconds: float = 90.0,
    ) -> ApiServerDelivery:  # fmt: skip
        """Return a delivery that notes its waits in place of waiting."""
        return ApiServerDelivery(
            lambda: open_cluster(kubeconfig=self.kubeconfig),
            volumes=Volumes("nats", VOLUMES),
            state=self.folder / "state",
            mounted=mounted,
            sync_seconds=sync_seconds,
            pause=pause or self.waited.append,
        )

    @property
    def content(self) -> dict[str, bytes | None]:
        """What the pods would see."""
        text = self.cluster.text
        return {
            LEAF: text("secrets", "nats-tls-n1", "tls.crt"),
            KEY: text("secrets", "nats-tls-n1", "tls.key"),
            CA: text("configmaps", "nats-ca", "ca.crt"),
        }

    @property
    def kept(self) -> list[str]:
        """The objects that keep former values."""
        names = [*self.cluster.names("secrets"), *self.cluster.names("configmaps")]
        return [name for name in names if name.endswith(".rollover-kept")]

    def fail_on(self, method: str, number: int) -> None:
        """Let one request of a method fail as when the connection ends."""
        seen = 0

        def before(each: str, _path: str) -> None:
            nonlocal seen
            seen += each == method
            if each == method and seen == number:
                raise stand_in.Refusal(500, "injected")

        self.cluster.before = before

    def die_on(self, method: str, number: int) -> None:
        """Let every request fail from one on, as when Rollover is killed there."""
        seen = 0

        def before(each: str, _path: str) -> None:
            nonlocal seen
            seen += each == method
            if seen >= number:
                raise stand_in.Refusal(500, "gone")

        self.cluster.before = before

    def live(self) -> None:
        """Let requests through again."""
        self.cluster.before = lambda _method, _path: None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A cluster and a delivery."""
    with stand_in.running(tmp_path, tls=False) as (cluster, kubeconfig):
        yield Rig(tmp_path, cluster, kubeconfig)


AFTER = {file.path: file.plain() for file in NEW}


def test_a_delivery_writes_keeps_waits_and_is_confirmed(rig: Rig) -> None:
    """Other values stay; the former ones are in the cluster until it is confirmed."""
    delivery = rig.delivery()
    receipt = delivery.deliver("n1", NEW)
    assert rig.content == AFTER
    assert rig.cluster.text("secrets", "nats-tls-n1", "mine") == b"m"
    assert rig.cluster.objects["nats", "secrets", "nats-tls-n1"]["type"] == "kubernetes.io/tls"
    assert rig.kept == ["nats-tls-n1.rollover-kept", "nats-ca.rollover-kept"]
    assert delivery.read("n1", (f"{CA}.rollover-kept",)) == {f"{CA}.rollover-kept": b"old ca"}
    assert rig.waited
    assert max(rig.waited) == pytest.approx(90, abs=5)
    delivery.confirm(receipt)
    delivery.confirm(receipt)
    assert rig.kept == []
    assert delivery.read("n1", (LEAF, CA)) == {LEAF: b"new leaf", CA: b"new ca"}


def test_a_delivery_is_taken_back_also_by_another_process(rig: Rig) -> None:
    """Everything needed for the way back is in the cluster."""
    receipt = rig.delivery().deliver("n1", NEW)
    rig.delivery().restore(receipt)
    assert rig.content == OLD
    assert rig.kept == []
    rig.delivery().restore(receipt)


def test_a_value_that_was_not_there_is_gone_again(rig: Rig) -> None:
    """A restored object has exactly the keys that it had."""
    files = (DeliveredFile(path="/etc/nats-ca/more.pem", content=b"x"),)
    receipt = rig.delivery().deliver("n1", files)
    assert receipt.files[0].before == ""
    rig.delivery().restore(receipt)
    assert rig.cluster.objects["nats", "configmaps", "nats-ca"]["data"] == {"ca.crt": "old ca"}


def test_the_same_again_gives_the_same_receipt(rig: Rig) -> None:
    """A delivery that waits is not made twice."""
    first = rig.delivery().deliver("n1", NEW)
    assert rig.delivery().deliver("n1", NEW) == first


@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_half_way_leaves_everything_as_it_was(rig: Rig, number: int) -> None:
    """One object could not be written: the other is put back."""
    rig.fail_on("PUT", number)
    with pytest.raises(Exception, match="injected"):
        rig.delivery().deliver("n1", NEW)
    assert rig.content == OLD
    assert rig.kept == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_whoever_is_killed_leaves_old_or_new_after_recovery(
    rig: Rig, method: str, number: int
) -> None:
    """At whichever request it dies, the next run ends with all old or all new."""
    rig.die_on(method, number)
    with suppress(RolloverError):
        receipt = rig.delivery().deliver("n1", NEW)
        rig.delivery().confirm(receipt)
    rig.live()
    waiting = rig.delivery().recover("n1")
    assert rig.content in (OLD, AFTER)
    assert bool(rig.kept) == bool(waiting)
    for item in waiting:
        assert rig.content == AFTER
        rig.delivery().restore(item)
        assert rig.content == OLD


@pytest.mark.parametrize("number", range(1, 5))
def test_a_restore_that_dies_is_finished_by_the_next(rig: Rig, number: int) -> None:
    """On the way back it goes on backwards."""
    receipt = rig.delivery().deliver("n1", NEW)
    rig.die_on("PUT", number)
    with pytest.raises(Exception, match="gone"):
        rig.delivery().restore(receipt)
    rig.live()
    rig.delivery().restore(receipt)
    assert rig.content == OLD
    assert rig.kept == []


def test_a_write_of_somebody_else_is_tried_again_and_not_lost(rig: Rig) -> None:
    """A controller labels the object between our read and our write."""
    done: list[str] = []

    def label(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("nats-ca") and not done:
            done.append(path)
            rig.cluster.put("configmaps", "nats-ca", metadata={"labels": {"seen": "yes"}})

    rig.cluster.before = label
    rig.delivery().deliver("n1", NEW)
    found = rig.cluster.objects["nats", "configmaps", "nats-ca"]
    assert found["metadata"]["labels"] == {"seen": "yes"}
    assert rig.content == AFTER


def test_what_somebody_else_delivered_meanwhile_is_not_written_over(rig: Rig) -> None:
    """Our keys have other values than before and after: a conflict, also on the way back."""
    receipt = rig.delivery().deliver("n1", NEW)
    rig.cluster.put("configmaps", "nats-ca", data={"ca.crt": "theirs"})
    with pytest.raises(Conflict, match=r"ca\.crt"):
        rig.delivery().restore(receipt)
    assert rig.content[CA] == b"theirs"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"immutable": True}, "immutable"),
        ({"metadata": {"annotations": {"cert-manager.io/certificate-name": "x"}}}, "cert-manager"),
        (
            {"metadata": {"ownerReferences": [
                {"apiVersion": "v1", "kind": "Bundle", "name": "b", "uid": "1"}]}},
            "Bundle/b",
        ),
    ],
)  # fmt: skip
def test_what_would_be_changed_back_is_refused(
    rig: Rig, fields: dict[str, Any], reason: str
) -> None:
    """Immutable objects and those of a controller: nothing is written."""
    rig.cluster.put("configmaps", "nats-ca", **fields)
    with pytest.raises(Rejected, match=reason):
        rig.delivery().deliver("n1", NEW)
    assert rig.content == OLD
    assert rig.kept == []


def test_missing_objects_volumes_and_rights_are_told(rig: Rig) -> None:
    """Each names what is missing, and nothing changes."""
    with pytest.raises(NotFound, match="nats-tls-n2"):
        rig.delivery().deliver("n2", NEW)
    with pytest.raises(Rejected, match="none of the volumes"):
        rig.delivery().deliver("n1", (DeliveredFile(path="/elsewhere/ca.pem", content=b""),))
    with pytest.raises(Rejected, match="private key"):
        rig.delivery().deliver("n1", (DeliveredFile(path=CA, content=SecretBytes(b"key")),))
    with pytest.raises(NotFound):
        rig.delivery().read("n1", ("/etc/nats-ca/none.pem",))
    rig.cluster.forbidden = {"POST"}
    with pytest.raises(Denied, match="forbidden"):
        rig.delivery().deliver("n1", NEW)
    assert rig.content == OLD


def test_it_waits_until_the_mounted_files_are_there(rig: Rig) -> None:
    """With `mounted` it looks; what never comes is put back."""
    root = rig.folder / "mnt"

    def kubelet(_seconds: float) -> None:
        for path, content in rig.content.items():
            file = root / "n1" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content or b"")

    mounted = str(root / "{instance}")
    receipt = rig.delivery(mounted=mounted, pause=kubelet).deliver("n1", NEW)
    assert (root / "n1/etc/nats-ca/ca.crt").read_bytes() == b"new ca"
    rig.delivery(mounted=mounted, pause=kubelet).restore(receipt)
    assert (root / "n1/etc/nats-ca/ca.crt").read_bytes() == b"old ca"
    with pytest.raises(TimedOut, match="is not what was delivered"):
        rig.delivery(mounted=mounted, sync_seconds=0.05).deliver("n1", NEW)
    assert rig.content == OLD


def test_a_damaged_record_is_told(rig: Rig) -> None:
    """Nothing is guessed about what somebody edited."""
    rig.delivery().deliver("n1", NEW)
    kept = rig.cluster.objects["nats", "configmaps", "nats-ca.rollover-kept"]
    kept["metadata"]["annotations"]["rollover-ca/delivery"] = json.dumps({"delivery": 1})
    with pytest.raises(Rejected, match="damaged"):
        rig.delivery().recover("n1")


def group(*names: str, secret: str, key: str | None = KEY) -> tuple[GroupDescription, Settings]:
    """A group of servers whose leafs are in `secret`."""
    endpoint = EndpointDescription(
        name=EndpointName("client"), role=Role.CLIENT_PORT, certificate=LEAF, key=key, ca=CA
    )
    settings = Settings(
        namespace="nats",
        volumes=(KubernetesVolume(path="/etc/nats-certs", secret=secret), VOLUMES[1]),
    )
    described = GroupDescription(
        name=GroupName("servers"),
        platform="nats",
        delivery=settings,
        instances=tuple(
            InstanceDescription(name=InstanceName(name), endpoints=(endpoint,)) for name in names
        ),
    )
    return described, settings


def test_instances_may_share_a_bundle_and_no_leaf(tmp_path: Path) -> None:
    """One ConfigMap for all is fine; one leaf for all is refused when the fleet is opened."""
    described, settings = group("n1", "n2", secret="tls-{instance}")
    delivery_of(described, settings, base=tmp_path, state=tmp_path)
    described, settings = group("n1", "n2", secret="tls")
    with pytest.raises(SpecError, match="share"):
        delivery_of(described, settings, base=tmp_path, state=tmp_path)


def test_the_example_fleet_is_one_that_can_be_delivered_to(tmp_path: Path) -> None:
    """It is read, its volumes hold every file, and it says the same when it is written again."""
    path = EXAMPLES / "kubernetes" / "fleet.yml"
    described = read_fleet(path.read_bytes(), place=str(path))
    assert read_fleet(write_fleet(described), place="again") == described
    (servers,) = described.groups
    assert isinstance(servers.delivery, Settings)
    delivery_of(servers, servers.delivery, base=tmp_path, state=tmp_path)
