"""Which connections hold up a withdrawal: those through an endpoint that loses trust."""

from __future__ import annotations

import pytest

from rigs import builders as build
from rollover.engine.rollout import withdrawal_of
from rollover.fleet.evidence import Holdout
from rollover.fleet.fleet import Fleet, Role
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Rollout
from rollover.planner.planner import plan

BOTH = ("old", "new")


def servers(world: build.World) -> Fleet:
    """Two servers that all have left the old CA, one port of which trusts it still."""
    ports = (
        build.endpoint("client", presents="new", trusts=("new",), role=Role.CLIENT_PORT),
        build.endpoint("websocket", presents="new", trusts=BOTH, role=Role.WEBSOCKET),
    )
    return build.fleet([build.uniform("server", 2, *ports)], [], world)


def last(world: build.World, fleet: Fleet) -> Rollout:
    """Return the rollout that ends the trust."""
    found = plan(fleet, build.goal(), knowledge=world.knowledge(), now=build.NOW)
    (rollout,) = found.rollouts
    return rollout


def holdout(server: str, role: Role | None) -> Holdout:
    """A connection that still presents the old CA's certificate."""
    return Holdout(
        server=InstanceName(server),
        connection=1,
        peer="c1",
        certificate=Fingerprint("old:leaf"),
        role=role,
    )


@pytest.mark.parametrize(
    ("role", "held_up"),
    [(Role.WEBSOCKET, True), (None, True), (Role.CLIENT_PORT, False), (Role.LEAFNODE, False)],
)
def test_only_connections_through_a_port_that_loses_trust_count(
    role: Role | None,
    held_up: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Others find what they found before at their next reconnect; an unknown port may be it."""
    world = build.World()
    fleet = servers(world)
    leaving = withdrawal_of(fleet, last(world, fleet), world.certificates, now=build.NOW)
    assert set(leaving.instances) == {"server1", "server2"}
    assert [certificate.fingerprint for certificate in leaving.retired] == ["old"]
    assert leaving.concerns(holdout("server1", role)) is held_up


def test_a_server_that_was_not_asked_about_counts() -> None:
    """A platform may know more than it was asked: what is not understood holds up."""
    world = build.World()
    fleet = servers(world)
    leaving = withdrawal_of(fleet, last(world, fleet), world.certificates, now=build.NOW)
    assert leaving.concerns(holdout("elsewhere", Role.CLIENT_PORT))


def test_what_a_leaf_node_sees_of_its_hub_is_old_and_holds_nothing_up() -> None:
    """Its hub is in the fleet, and presents the new CA's certificate to whoever dials it now."""
    world = build.World()
    hub = build.uniform(
        "hub", 1, build.endpoint("leafnode", presents="new", trusts=("new",), role=Role.LEAFNODE)
    )
    remote = build.endpoint("leaf-remote", presents="new", trusts=BOTH, role=Role.LEAF_REMOTE)
    leaf = build.uniform("leaf", 1, remote)
    joined = build.links(leaf, "leaf-remote", hub, "leafnode")
    fleet = build.fleet([hub, leaf], joined, world)
    leaving = withdrawal_of(fleet, last(world, fleet), world.certificates, now=build.NOW)
    assert leaving.instances == ()
    alone = build.fleet([leaf], [], world)
    leaving = withdrawal_of(alone, last(world, alone), world.certificates, now=build.NOW)
    assert leaving.instances == ("leaf1",)
