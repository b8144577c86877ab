"""What the planner says when something is wrong: broken fleets, stragglers, dates, wrong hands."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from rigs import builders as build
from rigs.director_vm import bosh
from rollover.fleet.fleet import Availability, Fleet, State, Touch
from rollover.fleet.names import Fingerprint
from rollover.fleet.plan import Phase, Plan, Side
from rollover.planner.planner import naive, plan


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
    return [str(rollout.group) for rollout in found.rollouts]


def cluster(world: build.World) -> Fleet:
    """Three servers which are route peers, and five mutual-TLS clients."""
    servers = build.uniform(
        "server", 3, build.endpoint("client", slot="tls"), build.endpoint("route", slot="tls")
    )
    clients = build.uniform("client", 5, build.endpoint("tls"), touch=Touch.WATCH)
    links = build.links(servers, "route", servers, "route")
    links += build.links(clients, "tls", servers, "client")
    return build.fleet([servers, clients], links, world)


def without(fleet: Fleet, *names: str) -> Fleet:
    """The fleet with these instances ignored."""
    return build.with_availability(fleet, dict.fromkeys(names, Availability.IGNORED), {})


def test_an_expired_ca_is_recovered_from_in_one_rollout_per_group() -> None:
    """Links that are dead already hinder nothing: everything goes straight to the goal."""
    world = build.World()
    world.add(build.certificate("old", not_after=build.NOW - timedelta(days=1)))
    found = planned(cluster(world), world)
    assert found.complete
    assert sorted(rollout.group for rollout in found.rollouts) == ["client", "server"]
    assert {
        (broken_link.witness.dialer.endpoint, broken_link.links) for broken_link in found.broken
    } == {
        ("route", 6),
        ("tls", 15),
    }


def test_a_compromised_ca_loses_its_trust_first_and_the_plan_says_what_dies() -> None:
    """One rollout per group, straight to the goal; each break says with which rollout it heals."""
    world = build.World()
    found = planned(cluster(world), world, compromised=True)
    assert sorted(rollout.group for rollout in found.rollouts) == ["client", "server"]
    breaks = {
        str(item.witness.dialer.endpoint): (item.links, item.heals_after, rollout.group)
        for rollout in found.rollouts
        for item in rollout.breaks
    }
    assert breaks["tls"][:2] == (15, 2)
    assert breaks["route"] == (6, order(found).index("server") + 1, "server")
    trusted = {
        ca for rollout in found.rollouts for a in rollout.assignments for ca in a.trusts[0] or ()
    }
    assert trusted == {"new"}


def test_a_naive_swap_is_refused_with_a_witness() -> None:
    """Straight to the new CA breaks links: rule, both ends, who refuses whom, and the reason."""
    world = build.World()
    refused = naive(cluster(world), build.goal(), knowledge=world.knowledge(), now=build.NOW)
    assert {"trust-before-use", "reissue-before-withdraw"} & {
        violation.rule for violation in refused
    }
    seen = refused[0].witness
    assert seen is not None
    assert {str(seen.dialer), str(seen.acceptor)} <= {
        f"server{number}/route" for number in (1, 2, 3)
    }
    assert {seen.dialer_side, seen.acceptor_side} == {Side.BEFORE, Side.AFTER}
    assert seen.faults[0].detail in refused[0].message


def one_way(world: build.World, *, server: str, trusts: tuple[str, ...]) -> Fleet:
    """A client that only trusts, and the server that it dials."""
    servers = build.uniform("server", 1, build.endpoint("tls", presents=server, trusts=None))
    clients = build.uniform("client", 1, build.endpoint("tls", presents=None, trusts=trusts))
    links = build.links(clients, "tls", servers, "tls", mutual=False)
    return build.fleet([servers, clients], links, world)


def test_use_before_trust_is_refused_by_its_rule() -> None:
    """A dialer that can never trust the new CA refuses it: `trust-before-use`."""
    world = build.World()
    found = planned(one_way(world, server="old", trusts=("old",)), world, trusted=("next",))
    assert not found.complete
    assert {violation.rule for violation in found.blocked} >= {"trust-before-use"}
    refused = next(violation for violation in found.blocked if violation.rule == "trust-before-use")
    assert refused.witness is not None
    assert str(refused.witness.refused_by) == "client1/tls"


def test_withdrawal_before_reissue_is_refused_by_its_rule() -> None:
    """A dialer that drops the CA of a certificate still presented: `reissue-before-withdraw`."""
    world = build.World()
    refused = naive(
        one_way(world, server="old", trusts=("old", "new")),
        build.goal(),
        knowledge=world.knowledge(),
        now=build.NOW,
    )
    assert refused == ()
    fleet = one_way(world, server="old", trusts=("old", "new"))
    backwards = build.with_groups_reversed(fleet)
    (violation,) = naive(backwards, build.goal(), knowledge=world.knowledge(), now=build.NOW)
    assert violation.rule == "reissue-before-withdraw"
    assert violation.lift == "reissue the peer's certificate from the new CA first"


def test_a_certificate_that_dies_during_a_step_stops_it_by_its_rule() -> None:
    """The window of a step ends when the next one can have ended: `validity-window`."""
    world = build.World()
    world.add(build.certificate("old", not_after=build.NOW + timedelta(minutes=2)))
    found = planned(cluster(world), world)
    assert not found.complete
    assert {violation.rule for violation in found.blocked} == {"validity-window"}


def test_a_ca_that_is_not_valid_yet_is_trusted_first_and_used_later() -> None:
    """Nothing presents the new CA before its time, and the plan gets there all the same."""
    world = build.World()
    begins = build.NOW + timedelta(minutes=7)
    for name in ("new", "new:leaf"):
        world.add(build.certificate(name, not_before=begins))
    found = planned(cluster(world), world)
    assert found.complete
    reissues = [
        rollout for rollout in found.rollouts if any(change.present for change in rollout.changes)
    ]
    assert all(reissue.proof.starts >= begins for reissue in reissues)


def test_a_straggler_stops_the_plan_before_the_step_that_cuts_it_off() -> None:
    """An ignored client still presents the old CA: servers may not withdraw it, and it is named."""
    world = build.World()
    found = planned(without(cluster(world), "client4"), world)
    assert not found.complete
    assert all(
        "withdraw" not in rollout.phases for rollout in found.rollouts if rollout.group == "server"
    )
    assert found.rollouts
    assert {violation.rule for violation in found.blocked} == {"left-behind"}
    assert any(
        "client4" in violation.lift and "ignored" in violation.lift for violation in found.blocked
    )
    assert found.whole == 5


def test_the_plan_goes_on_once_the_straggler_is_back() -> None:
    """Observed again with the client back, what is left is planned to the end."""
    world = build.World()
    fleet = cluster(world)
    stopped = planned(without(fleet, "client4"), world)
    later = build.after(without(fleet, "client4"), stopped.rollouts)
    back = build.with_availability(later, {"client4": Availability.READY}, {})
    found = planned(back, world)
    assert found.complete
    assert len(stopped.rollouts) + len(found.rollouts) <= found.whole + stopped.whole
    assert {
        name for assignment in found.rollouts[0].assignments for name in assignment.instances
    } == {"client4"} or found.rollouts[0].group == "client"


def test_a_source_out_of_reach_is_named() -> None:
    """Agents get what the director holds; while it is ignored nothing can be rolled out."""
    world = build.World()
    director = build.group(
        "director", build.instance("director/0", build.endpoint("agents", slot="agents"))
    )
    agents = build.uniform("agent", 3, build.endpoint("tls", source=("director", "agents")))
    fleet = build.fleet([director, agents], [], world)
    found = planned(without(fleet, "director/0"), world)
    assert not found.complete
    assert found.rollouts == ()
    assert any("director/0" in violation.message for violation in found.blocked)


def test_a_rollback_is_counted_and_the_point_of_no_return_is_the_first_withdrawal() -> None:
    """From each rollout the way back is known; trust is first withdrawn in the fourth at most."""
    world = build.World()
    found = planned(cluster(world), world)
    counts = [rollout.rollback_rollouts for rollout in found.rollouts]
    assert all(count is not None and count <= number for number, count in enumerate(counts, 1))
    assert counts[-1] == 5
    withdrawing = [rollout.number for rollout in found.rollouts if "withdraw" in rollout.phases]
    assert found.point_of_no_return == withdrawing[0]


def director(*, expired: bool = False, doubted: bool = False) -> tuple[Fleet, build.World]:
    """A director VM and three agents; the CA may have expired, or an agent be in doubt."""
    world = build.World()
    if expired:
        for name in ("old", "old:leaf"):
            world.add(build.certificate(name, not_after=build.NOW - timedelta(days=1)))
    fleet = bosh(world, agents=3)
    if doubted:
        state = State(((Fingerprint("old:leaf"),),), ((Fingerprint("old"), Fingerprint("new")),))
        fleet = build.with_availability(fleet, {}, {"agent2": (state,)})
    return fleet, world


def test_an_expired_ca_of_a_director_is_recovered_from_in_two_rollouts() -> None:
    """Director, then agents: links that are dead already hinder nothing."""
    fleet, world = director(expired=True)
    found = planned(fleet, world)
    assert found.complete
    assert order(found) == ["director", "agent"]
    assert {
        (broken_link.witness.dialer.endpoint, broken_link.links) for broken_link in found.broken
    } == {
        ("mbus", 3),
        ("director", 1),
        ("health-monitor", 1),
    }
    assert all(
        fault.kind == "expired"
        for broken_link in found.broken
        for fault in broken_link.witness.faults
    )


@pytest.mark.parametrize("away", [Availability.IGNORED, Availability.UNREACHABLE])
def test_an_agent_that_is_away_stops_the_director_before_it_cuts_it_off(
    away: Availability,
) -> None:
    """Both trusted, the other agents reissued; then the director waits, and the agent is named."""
    fleet, world = director()
    found = planned(build.with_availability(fleet, {"agent2": away}, {}), world)
    assert order(found) == ["director", "agent"]
    assert found.whole == 4
    assert found.rollouts[1].instances == 2
    assert {violation.rule for violation in found.blocked} == {"left-behind"}
    assert any(
        "agent2" in violation.lift and away.value in violation.lift for violation in found.blocked
    )


def test_a_director_goes_on_once_its_agent_is_back() -> None:
    """The agent that was away is reissued alone, then the director withdraws."""
    fleet, world = director()
    away = build.with_availability(fleet, {"agent2": Availability.IGNORED}, {})
    later = build.after(away, planned(away, world).rollouts)
    found = planned(build.with_availability(later, {"agent2": Availability.READY}, {}), world)
    assert found.complete
    assert order(found) == ["agent", "director", "agent"]
    assert [rollout.instances for rollout in found.rollouts] == [1, 1, 3]


def test_an_agent_in_doubt_is_given_its_certificate_again_before_anything_is_withdrawn() -> None:
    """Whether it took what it was given is not known: no step may rely on either."""
    fleet, world = director()
    first = planned(fleet, world).rollouts[:2]
    state = fleet.group("agent").instances[1].state
    doubted = build.with_availability(build.after(fleet, first), {}, {"agent2": (state,)})
    found = planned(doubted, world)
    assert found.complete
    assert order(found) == ["agent", "director", "agent"]
    assert found.rollouts[0].assignments[0].instances == ("agent2",)
    assert found.rollouts[0].phases == (Phase.TRUST, Phase.REISSUE)
    (change,) = found.rollouts[0].changes
    assert (change.present_from, change.present) == ("nats-ca@1", "nats-ca@2")


def test_an_agent_in_doubt_and_out_of_reach_blocks_the_withdrawal() -> None:
    """It looks reissued, and may not be: the rule ranges over both."""
    fleet, world = director()
    later = build.after(fleet, planned(fleet, world).rollouts[:2])
    old = fleet.group("agent").instances[1].state
    away = {"agent2": Availability.UNREACHABLE}
    found = planned(build.with_availability(later, away, {"agent2": (old,)}), world)
    assert found.rollouts == ()
    assert {violation.rule for violation in found.blocked} == {"left-behind"}


def test_a_compromised_ca_of_a_director_goes_from_the_source_first() -> None:
    """Agents cannot be given what their director does not hold, whatever breaks meanwhile."""
    fleet, world = director()
    found = planned(build.with_groups_reversed(fleet), world, compromised=True)
    assert order(found) == ["director", "agent"]
    assert found.rollouts[0].breaks[0].links == 3
    assert found.rollouts[0].breaks[0].heals_after == 2
    unlinked = msgspec.structs.replace(build.with_groups_reversed(fleet), links=())
    assert order(planned(unlinked, world, compromised=True)) == ["director", "agent"]


def test_a_compromised_ca_leaves_nobody_behind_in_silence() -> None:
    """An instance that is away keeps the plan from being complete, and is named."""
    world = build.World()
    found = planned(without(cluster(world), "client4"), world, compromised=True)
    assert not found.complete
    assert any("client4" in violation.message for violation in found.blocked)
