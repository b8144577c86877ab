"""Instances that read one file: they change together, so they cannot be changed apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.nats_fleet_rig import Authority, now
from rollover.delivery.local import LocalDelivery
from rollover.fleet.description import (
    CommandDelivery,
    Delivery,
    EndpointDescription,
    FileDelivery,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.fleet import Availability, Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.clients import NatsClients
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.instance_files import shared

FIRST, SECOND = InstanceName("first"), InstanceName("second")


def _instance(name: InstanceName, ca: str) -> InstanceDescription:
    one = EndpointDescription(name=EndpointName("client"), role=Role.CLIENT, ca=ca)
    other = EndpointDescription(name=EndpointName("other"), role=Role.TLS, ca=ca)
    return InstanceDescription(name=name, endpoints=(one, other))


def _group(*instances: InstanceDescription, delivery: Delivery | None = None) -> GroupDescription:
    return GroupDescription(
        name=GroupName("clients"),
        platform="nats-client",
        instances=instances,
        touch=Touch.RECONNECT,
        delivery=delivery or FileDelivery(),
    )


def test_two_spellings_of_one_path_are_one_file(tmp_path: Path) -> None:
    """A relative path of one group and an absolute one of another lead to the same place."""
    groups = (
        _group(_instance(FIRST, "tls/ca.crt")),
        _group(_instance(SECOND, f"{tmp_path}/tls/ca.crt")),
    )
    found = shared(groups, base=tmp_path)
    path = tmp_path / "tls" / "ca.crt"
    assert found == {
        FIRST: f"`{path}` is also a file of `second`: give each its own copy",
        SECOND: f"`{path}` is also a file of `first`: give each its own copy",
    }


def test_links_to_one_file_are_one_file(tmp_path: Path) -> None:
    """A delivery follows links, so what they lead to counts."""
    (tmp_path / "ca.crt").touch()
    for literal in ("a.crt", "b.crt"):
        (tmp_path / literal).symlink_to("ca.crt")
    found = shared((_group(_instance(FIRST, "a.crt"), _instance(SECOND, "b.crt")),), base=tmp_path)
    assert sorted(found) == [FIRST, SECOND]


@pytest.mark.parametrize("delivery", [FileDelivery(), CommandDelivery(command=("carry",))])
def test_files_of_their_own_are_not_shared(tmp_path: Path, delivery: Delivery) -> None:
    """Neither different files, nor one file of two endpoints of one instance."""
    group = _group(_instance(FIRST, "1.crt"), _instance(SECOND, "2.crt"), delivery=delivery)
    assert not shared((group,), base=tmp_path)


def test_one_path_on_other_machines_is_not_shared(tmp_path: Path) -> None:
    """What a command carries away lies on a machine of its own."""
    carried = CommandDelivery(command=("carry",))
    group = _group(_instance(FIRST, "ca.crt"), _instance(SECOND, "ca.crt"), delivery=carried)
    assert not shared((group,), base=tmp_path)


def test_what_shares_a_file_is_seen_and_left_as_it_is(tmp_path: Path) -> None:
    """It counts as refusing, with the path: no rollout changes its neighbour behind its back."""
    ca = Authority("Shared CA").certificate
    (tmp_path / "ca.crt").write_bytes(write_certificates((ca,)))
    group = _group(_instance(FIRST, "ca.crt"), _instance(SECOND, "ca.crt"))
    platform = NatsClients(
        DescribedGroup(
            group,
            delivery=LocalDelivery(state=tmp_path / "state"),
            base=tmp_path,
            shared=shared((group,), base=tmp_path),
        ),
        servers=(),
        clock=now,
    )
    found = next(iter(platform.observe((FIRST,))))
    assert found.availability is Availability.REFUSING
    assert "is also a file of `second`" in found.why
    assert {endpoint.trusts for endpoint in found.endpoints} == {(ca,)}
