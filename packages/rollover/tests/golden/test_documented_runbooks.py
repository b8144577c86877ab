"""The procedures that vendors document must be what the search finds: no more, and no less."""

from __future__ import annotations

from rigs import builders as build
from rigs.director_vm import bosh
from rollover.fleet.fleet import Fleet, Role, Touch
from rollover.fleet.plan import Phase, Plan, Rollout
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
    """Director, agents, director, agents: steps 1 to 4 of the BOSH documentation, and no fewer."""
    found = planned(bosh(world := build.World()), world)
    assert order(found) == ["director", "agent", "director", "agent"]
    assert found.complete
    assert found.lower_bound == 4
    assert found.weight == found.weight_lower_bound == 2 * 200 + 2 * 20


def held(rollout: Rollout, endpoint: str) -> tuple[str | None, tuple[str, ...] | None]:
    """What an endpoint is given in a rollout: an issuer, a bundle; None: it keeps what it has."""
    for change in rollout.changes:
        if change.endpoint == endpoint:
            return change.present, change.trust
    return None, None


BOTH, OLD, NEW = ("nats-ca@1", "nats-ca@2"), "nats-ca@1", "nats-ca@2"


def test_bosh_step_1_trusts_both_and_signs_anew() -> None:
    """`add-new-ca.yml`: both CAs everywhere, new signer and clients, and NATS' old certificate."""
    first = planned(bosh(world := build.World()), world).rollouts[0]
    assert held(first, "nats") == (None, BOTH)
    assert held(first, "director") == (NEW, BOTH)
    assert held(first, "health-monitor") == (NEW, BOTH)
    assert held(first, "agents") == (NEW, BOTH)
    assert first.phases == (Phase.TRUST, Phase.ACTIVATE, Phase.REISSUE)


def test_bosh_step_2_gives_agents_what_the_director_holds_by_then() -> None:
    """Certificates of the new CA, and both CAs to trust."""
    second = planned(bosh(world := build.World()), world).rollouts[1]
    assert held(second, "mbus") == (NEW, BOTH)
    assert second.instances == 10
    assert second.phases == (Phase.TRUST, Phase.REISSUE)


def test_bosh_step_3_gives_nats_its_new_certificate_and_drops_the_old_ca() -> None:
    """`remove-old-ca.yml`: the server's certificate at last, and one CA in every bundle."""
    third = planned(bosh(world := build.World()), world).rollouts[2]
    assert held(third, "nats") == (NEW, (NEW,))
    assert held(third, "director") == (None, (NEW,))
    assert held(third, "health-monitor") == (None, (NEW,))
    assert held(third, "agents") == (None, (NEW,))
    assert third.phases == (Phase.REISSUE, Phase.WITHDRAW)


def test_bosh_step_4_takes_the_old_ca_from_the_agents() -> None:
    """Nothing else is left to do; once agents have new ones, the way back takes as many again."""
    found = planned(bosh(world := build.World()), world)
    assert held(found.rollouts[3], "mbus") == (None, (NEW,))
    assert found.rollouts[3].phases == (Phase.WITHDRAW,)
    assert found.point_of_no_return == 3
    assert [rollout.rollback_rollouts for rollout in found.rollouts] == [1, 4, 4, 4]


def test_bosh_goes_on_from_wherever_it_was_left() -> None:
    """Observed after any of its steps, the plan is what was left of it."""
    world = build.World()
    whole = planned(bosh(world), world)
    for done in range(1, 5):
        left = planned(build.after(bosh(world), whole.rollouts[:done]), world)
        assert order(left) == order(whole)[done:]
        assert left.complete


def test_cross_signed_nats_takes_three_rollouts() -> None:
    """A bridge from the new CA to the old saves two rollouts of five."""
    world = build.World(bridge=True)
    found = planned(nats(world), world, bridge=True)
    assert sorted(order(found)) == ["client", "server", "server"]


def test_cross_signing_saves_bosh_nothing() -> None:
    """Agents get the bundle of NATS, which needs the old CA until they all have new ones."""
    world = build.World(bridge=True)
    found = planned(bosh(world), world, bridge=True)
    assert order(found) == ["director", "agent", "director", "agent"]
    assert found.lower_bound == 4
    presented = {
        chain
        for rollout in found.rollouts
        for assignment in rollout.assignments
        for name, chain in zip(assignment.endpoints, assignment.presents, strict=True)
        if name in {"mbus", "agents"}
    }
    assert presented == {("new",), ("new:leaf",)}


def test_standby_already_trusted_takes_one_rollout_per_group() -> None:
    """Presenting the standby, trusting the next one and the one before, in a single visit."""
    world = build.World()
    fleet = nats(world, trusts=("old", "new"))
    found = planned(fleet, world, trusted=("new", "next", "old"), retired=())
    assert sorted(order(found)) == ["client", "server"]
    assert found.lower_bound == 2


def test_standby_of_three_generations_drops_the_oldest_on_the_way() -> None:
    """The CA before goes, the standby takes over, the next standby comes: still one visit each."""
    world = build.World(target="next")
    fleet = build.after_reissue(nats(world, trusts=("old", "new", "next")), "new")
    world.add(build.certificate("third"))
    found = planned(fleet, world, target="next", trusted=("next", "third", "new"), retired=("old",))
    assert sorted(order(found)) == ["client", "server"]
    ends = {
        trusts for rollout in found.rollouts for a in rollout.assignments for trusts in a.trusts
    }
    assert ends == {("new", "next", "third")}


def test_converged_fleet_needs_nothing() -> None:
    """The second run of a finished rotation is an empty plan."""
    world = build.World(target="old")
    found = planned(nats(world), world, target="old", trusted=("old",), retired=())
    assert found.converged


def test_cross_signed_a9s_takes_three_rollouts() -> None:
    """A bridge spares the visit that only adds trust: nodes twice, clients once."""
    world = build.World(bridge=True)
    found = planned(a9s(world), world, bridge=True)
    assert sorted(order(found)) == ["client", "node", "node"]
    assert found.lower_bound == 3


def credhub(world: build.World) -> Fleet:
    """A store whose flags cost nothing, and two deployments of peers that it feeds."""
    store = build.group(
        "store",
        build.instance("store/ca", build.endpoint("ca", role=Role.SOURCE, slot="ca")),
        weight=0,
    )
    source = ("store", "ca")
    deployments = [
        build.uniform(
            name, 3, build.endpoint("tls", slot="tls", source=source), touch=Touch.RESTART
        )
        for name in ("diego", "uaa")
    ]
    links = [
        link
        for deployment in deployments
        for link in build.links(deployment, "tls", deployment, "tls")
    ]
    links += build.links(deployments[0], "tls", deployments[1], "tls")
    return build.fleet([store, *deployments], links, world)


def test_credhub_takes_three_deploys_of_each_consumer() -> None:
    """Mark transitional, deploy; let it sign, deploy; delete the old one, deploy."""
    found = planned(credhub(world := build.World()), world)
    deployed = [text for text in order(found) if text != "store"]
    assert sorted(deployed) == ["diego"] * 3 + ["uaa"] * 3
    assert {*deployed[:2]} == {*deployed[2:4]} == {*deployed[4:]} == {"diego", "uaa"}


def test_credhub_flips_its_flags_between_the_deploys() -> None:
    """The store trusts both first, signs anew then, and forgets the old CA last."""
    found = planned(credhub(world := build.World()), world)
    (flips,) = [[rollout for rollout in found.rollouts if rollout.group == "store"]]
    assert [flip.phases for flip in flips] == [
        (Phase.TRUST,),
        (Phase.ACTIVATE,),
        (Phase.WITHDRAW,),
    ]
    assert found.weight == found.weight_lower_bound == 6 * 20


def supercluster(world: build.World) -> Fleet:
    """Three clusters of three servers, gateways between all of them, clients at each."""
    groups, links = [], []
    for name in ("east", "west", "north"):
        servers = build.uniform(
            name,
            3,
            build.endpoint("client", slot="tls"),
            build.endpoint("route", slot="tls"),
            build.endpoint("gateway", slot="gateway"),
        )
        clients = build.uniform(f"{name}-client", 4, build.endpoint("tls"), touch=Touch.WATCH)
        links += build.links(servers, "route", servers, "route")
        links += build.links(clients, "tls", servers, "client")
        groups += [servers, clients]
    clusters = groups[::2]
    for one in clusters:
        for other in clusters:
            if one is not other:
                links += build.links(one, "gateway", other, "gateway")
    return build.fleet(groups, links, world)


def test_supercluster_widens_every_bundle_before_any_certificate() -> None:
    """Gateways: both CAs in every bundle, then leaves in any order, then the old CA goes."""
    found = planned(supercluster(world := build.World()), world)
    clusters = [rollout for rollout in found.rollouts if "client" not in rollout.group]
    assert len(clusters) == 9
    assert {cluster.group for cluster in clusters[:3]} == {"east", "west", "north"}
    assert all(Phase.TRUST in cluster.phases for cluster in clusters[:3])
    assert all(Phase.WITHDRAW in cluster.phases for cluster in clusters[6:])
    leaf = next(at for at, each in enumerate(clusters) if _presents(each, "gateway"))
    assert leaf >= 2
    assert found.lower_bound == len(found.rollouts) == 15


def _presents(rollout: Rollout, endpoint: str) -> bool:
    return any(change.endpoint == endpoint and change.present for change in rollout.changes)


def test_twenty_client_groups_that_look_alike_are_searched_as_one() -> None:
    """Each of them is rolled out twice, and the word is exact: the fewest possible."""
    world = build.World()
    servers = build.uniform("server", 3, build.endpoint("tls"))
    clients = [build.uniform(f"client{n}", 5, build.endpoint("tls")) for n in range(20)]
    links = build.links(servers, "tls", servers, "tls")
    for client in clients:
        links += build.links(client, "tls", servers, "tls")
    found = planned(build.fleet([servers, *clients], links, world), world)
    assert found.complete
    assert len(found.rollouts) == found.lower_bound == 3 + 20 * 2


def mesh(world: build.World, size: int) -> Fleet:
    """Groups of their own kinds, each a peer of all others."""
    groups = [
        build.uniform(f"g{n}", 2, build.endpoint("tls", trusts=("old", f"own{n}")))
        for n in range(size)
    ]
    for n in range(size):
        world.add(build.certificate(f"own{n}"))
    links = [
        link
        for at, one in enumerate(groups)
        for other in groups[at + 1 :]
        for link in build.links(one, "tls", other, "tls")
    ]
    return build.fleet(groups, links, world)


def test_a_product_too_large_to_search_is_still_proven_safe_with_a_bound() -> None:
    """Twelve kinds of groups, each linked with all: every step has its proof, and a bound holds."""
    found = planned(mesh(world := build.World(), 12), world)
    assert found.complete
    assert all(rollout.proof.holds for rollout in found.rollouts)
    assert len(found.rollouts) == 3 * 12 - 2
    assert 2 * 12 < found.lower_bound <= len(found.rollouts)


def test_a_server_with_twelve_files_is_planned_exactly() -> None:
    """Client, route, gateway, leaf node, websocket and MQTT files of their own: still five."""
    world = build.World()
    ports = ("client", "route", "gateway", "leafnode", "websocket", "mqtt")
    servers = build.uniform("server", 3, *(build.endpoint(port, slot=port) for port in ports))
    links = []
    for literal in ("route", "gateway", "leafnode"):
        links += build.links(servers, literal, servers, literal)
    clients = build.uniform("client", 5, build.endpoint("tls"))
    for literal in ("client", "websocket", "mqtt"):
        links += build.links(clients, "tls", servers, literal)
    found = planned(build.fleet([servers, clients], links, world), world)
    assert sorted(order(found)) == ["client"] * 2 + ["server"] * 3
    assert found.lower_bound == 5
