"""Verdicts that are out of the ordinary: the planner notices, and stays exact and safe."""

from __future__ import annotations

import msgspec

from rigs import builders as build
from rigs.planner_oracle import Cheapest, Oracle
from rollover.fleet.certificate import Fault, FaultKind, Question, Verdict
from rollover.planner.planner import plan

REFUSED = Verdict((Fault(kind=FaultKind.NO_PATH, detail="refused"),))


def test_a_peer_that_cannot_take_two_cas_is_gone_around_over_the_bridge() -> None:
    """It refuses everything while both CAs are in its bundle: only a bridged chain gets past."""
    world = build.World(bridge=True)

    def accepts(question: Question) -> Verdict:
        return REFUSED if len(question.bundle) > 1 else world.accepts(question)

    servers = build.uniform("server", 1, build.endpoint("tls", trusts=None))
    clients = build.uniform("client", 2, build.endpoint("tls", presents=None))
    links = build.links(clients, "tls", servers, "tls", mutual=False)
    found = plan(
        build.fleet([servers, clients], links, world),
        build.goal(bridge=True),
        knowledge=msgspec.structs.replace(world.knowledge(), accepts=accepts),
        now=build.NOW,
    )
    assert found.complete
    assert [rollout.group for rollout in found.rollouts] == ["server", "client"]
    assert found.rollouts[0].changes[0].present == "nats-ca@2+bridge"


def test_a_peer_that_cannot_take_two_cas_and_no_bridge_has_no_safe_plan() -> None:
    """No order of rollouts helps, and the plan says what stands in the way."""
    world = build.World()

    def accepts(question: Question) -> Verdict:
        return REFUSED if len(question.bundle) > 1 else world.accepts(question)

    servers = build.uniform("server", 1, build.endpoint("tls", trusts=None))
    clients = build.uniform("client", 2, build.endpoint("tls", presents=None))
    links = build.links(clients, "tls", servers, "tls", mutual=False)
    found = plan(
        build.fleet([servers, clients], links, world),
        build.goal(),
        knowledge=msgspec.structs.replace(world.knowledge(), accepts=accepts),
        now=build.NOW,
    )
    assert not found.complete
    assert found.rollouts == ()
    assert found.blocked


def test_pairs_that_are_not_closed_are_searched_through_every_rollout() -> None:
    """A chain that both CAs refuse but each alone accepts: the furthest is not always the best."""
    world = build.World(bridge=True)

    def accepts(question: Question) -> Verdict:
        bridged = build.BRIDGE in question.chain
        return REFUSED if bridged and len(question.bundle) > 1 else world.accepts(question)

    servers = build.uniform("server", 2, build.endpoint("tls"))
    clients = build.uniform("client", 2, build.endpoint("tls"))
    links = build.links(servers, "tls", servers, "tls")
    links += build.links(clients, "tls", servers, "tls")
    found = plan(
        build.fleet([servers, clients], links, world),
        build.goal(bridge=True),
        knowledge=msgspec.structs.replace(world.knowledge(), accepts=accepts),
        now=build.NOW,
    )
    assert found.complete
    assert all(rollout.proof.holds for rollout in found.rollouts)
    assert found.lower_bound == len(found.rollouts)


def test_a_link_that_is_broken_anyway_binds_nobody() -> None:
    """Both ends of it go straight to the new CA, as brute force finds: three visits, not four."""
    world = build.World()
    u = build.uniform("u", 1, build.endpoint("r", presents=None), build.endpoint("x"))
    p = build.uniform("p", 1, build.endpoint("r", trusts=None), build.endpoint("x", presents="new"))
    links = build.links(u, "r", p, "r", mutual=False) + build.links(u, "x", p, "x")
    fleet = build.fleet([u, p], links, world)
    found = plan(fleet, build.goal(), knowledge=world.knowledge(), now=build.NOW)
    assert [rollout.group for rollout in found.rollouts] == ["u", "p", "u"]
    assert found.lower_bound == 3
    assert Oracle(fleet, build.goal()).cheapest() == Cheapest(weight=3, rollouts=3)
