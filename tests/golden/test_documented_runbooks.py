"""The procedures that vendors document must be what the search finds: nothing more, nothing less."""

from __future__ import annotations

import builders as build
from rollover.fleet.model import Fleet, Role, Touch
from rollover.fleet.plan import Phase, Plan
from rollover.planner.planner import plan


def planned(fleet: Fleet, world: build.World, **goal: object) -> Plan:
    """Plan the fleet towards an ordinary goal."""
    return plan(
        fleet,
        build.goal(**goal),  # type: ignore[arg-type]  # keywords of the builder
        knowledge=world.knowledge(),
        now=build.NOW,
    )


def order(found: Plan) -> list[str]:
    """The groups in the order of their rollouts."""
    return [rollout.group for rollout in found.rollouts]


def nats(world: build.World, *, trusts: tuple[str, ...] = ("old",)) -> Fleet:
    """Three servers which are route peers, and twenty mutual-TLS clients."""
    servers = build.uniform(
        "server",
        3,
        build.endpoint("client", trusts=trusts, slot="tls"),
        build.endpoint("route", trusts=trusts, slot="tls"),
    )
    clients = build.uniform("client", 20, build.endpoint("tls", trusts=trusts), touch=Touch.WATCH)
    links = build.links(servers, "route", servers, "route")
    links += build.links(clients, "tls", servers, "client")
    return build.fleet([servers, clients], links, world)


def a9s(world: build.World) -> Fleet:
    """Service nodes that are peers of each other, and clients which only trust."""
    nodes = build.uniform("node", 3, build.endpoint("peer"), build.endpoint("service"))
    clients = build.uniform("client", 5, build.endpoint("tls", presents=None))
    links = build.links(nodes, "peer", nodes, "peer")
    links += build.links(clients, "tls", nodes, "service", mutual=False)
    return build.fleet([nodes, clients], links, world)


def bosh(world: build.World) -> Fleet:
    """A director VM (director, health monitor and NATS), the source of what its agents get."""
    director = build.group(
        "director",
        build.instance(
            "director/0",
            build.endpoint("director", slot="director"),
            build.endpoint("nats", slot="nats"),
            build.endpoint("agents", role=Role.SOURCE, slot="agents"),
        ),
        touch=Touch.RECREATE,
    )
    agents = build.uniform(
        "agent", 10, build.endpoint("mbus", source=("director", "agents")), touch=Touch.RESTART
    )
    links = build.links(agents, "mbus", director, "nats")
    links += build.links(director, "director", director, "nats", same_instance=True)
    return build.fleet([director, agents], links, world)


def test_nats_route_peers_with_mutual_clients_take_five_rollouts() -> None:
    """Servers three times and clients twice, as the NATS documentation's TLS pages imply."""
    found = planned(nats(world := build.World()), world)
    assert sorted(order(found)) == ["client"] * 2 + ["server"] * 3
    assert found.complete
    assert found.lower_bound == 5


def test_a9s_service_nodes_and_trusting_clients_take_five_rollouts() -> None:
    """Nodes three times and clients twice: the six documented steps, of which one is a setting."""
    found = planned(a9s(world := build.World()), world)
    assert sorted(order(found)) == ["client"] * 2 + ["node"] * 3
    assert found.lower_bound == 5


def test_bosh_director_goes_first_and_each_side_is_touched_twice() -> None:
    """Director, agents, director, agents: steps 1 to 4 of the BOSH documentation."""
    found = planned(bosh(world := build.World()), world)
    assert order(found) == ["director", "agent", "director", "agent"]


def test_bosh_steps_do_what_the_documentation_says() -> None:
    """Step 1 trusts both and signs anew; 2 reissues agents; 3 drops the old; 4 drops it on agents."""
    found = planned(bosh(world := build.World()), world)
    first, second, third, fourth = found.rollouts
    changed = {change.endpoint: change for change in first.changes}
    assert changed["nats"].trust == ("nats-ca@1", "nats-ca@2")
    assert changed["nats"].present is None
    assert changed["director"].present == "nats-ca@2"
    assert changed["agents"].present == "nats-ca@2"
    assert Phase.REISSUE in second.phases
    assert {change.endpoint: change.present for change in third.changes}["nats"] == "nats-ca@2"
    assert Phase.WITHDRAW in third.phases
    assert fourth.phases == (Phase.WITHDRAW,)


def test_cross_signed_nats_takes_three_rollouts() -> None:
    """A bridge from the new CA to the old saves two rollouts of five."""
    world = build.World(bridge=True)
    found = planned(nats(world), world, bridge=True)
    assert sorted(order(found)) == ["client", "server", "server"]


def test_cross_signed_bosh_takes_three_rollouts() -> None:
    """A bridge saves the agents' second visit."""
    world = build.World(bridge=True)
    found = planned(bosh(world), world, bridge=True)
    assert order(found) == ["director", "agent", "director"]


def test_standby_already_trusted_takes_one_rollout_per_group() -> None:
    """Presenting the standby, trusting the next one and the one before, in a single visit."""
    world = build.World()
    fleet = nats(world, trusts=("old", "new"))
    found = planned(fleet, world, trusted=("new", "next", "old"), retired=())
    assert sorted(order(found)) == ["client", "server"]


def test_converged_fleet_needs_nothing() -> None:
    """The second run of a finished rotation is an empty plan."""
    world = build.World(target="old")
    found = planned(nats(world), world, target="old", trusted=("old",), retired=())
    assert found.converged
