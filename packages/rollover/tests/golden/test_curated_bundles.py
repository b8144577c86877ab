"""The story of the CA rollovers: what a renewal breaks, and how a curated bundle prevents it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from rigs import builders as build
from rollover.fleet.certificate import FaultKind
from rollover.fleet.fleet import Availability, Endpoint, EndpointRef, Fleet, Role
from rollover.fleet.goal import Installation, InstallMaterial
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName
from rollover.fleet.plan import Phase, Plan
from rollover.planner.planner import plan

BY_FILE = "cabundle.pem"
BOTH = ("r3", "e1")
GATEWAYS = ("gateway", "gateway-remote")


def world() -> build.World:
    """The own CA of the clusters, and two intermediates of a public issuer."""
    made = build.World()
    for name in ("r3", "e1", "own", "r3:leaf", "e1:leaf", "own:leaf"):
        made.add(build.certificate(name))
    return made


def server_ends(*, trusts: Iterable[str]) -> tuple[Endpoint, ...]:
    """A client port and a route with the own CA, and gateways with the public issuer's."""
    own = {"presents": "own", "trusts": ("own",), "slot": "server"}
    public = {"presents": "r3", "trusts": trusts, "slot": "gateway"}
    found = (
        build.endpoint("client-port", role=Role.CLIENT_PORT, **own),  # type: ignore[arg-type]  # keywords of the builder
        build.endpoint("route", role=Role.ROUTE, **own),  # type: ignore[arg-type]  # likewise
        build.endpoint("gateway", role=Role.GATEWAY, **public),  # type: ignore[arg-type]  # likewise
        build.endpoint("gateway-remote", role=Role.GATEWAY_REMOTE, **public),  # type: ignore[arg-type]  # likewise
    )
    files = ("server-ca.pem", "server-ca.pem", "gateway-ca.pem", "gateway-ca.pem")
    return tuple(
        msgspec.structs.replace(each, bundle_file=file)
        for each, file in zip(found, files, strict=True)
    )


def supercluster(made: build.World, *, trusts: Iterable[str] = ("r3",)) -> Fleet:
    """Clusters of three and two servers, joined by gateways in both directions."""
    a = build.uniform("a", 3, *server_ends(trusts=trusts))
    b = build.uniform("b", 2, *server_ends(trusts=trusts))
    links = build.links(a, "route", a, "route") + build.links(b, "route", b, "route")
    links += build.links(a, "gateway-remote", b, "gateway")
    links += build.links(b, "gateway-remote", a, "gateway")
    return build.fleet([a, b], links, made)


def goal(
    fleet: Fleet,
    *,
    groups: Iterable[str] = ("a", "b"),
    endpoints: Iterable[str] = GATEWAYS,
    bundle: Iterable[str] | None = None,
    chain: str | None = None,
    file: str | None = None,
) -> InstallMaterial:
    """Install a bundle, a chain, or both, on some endpoints of some groups."""
    refs = tuple(
        EndpointRef(instance.name, EndpointName(name))
        for group in fleet.groups
        if group.name in groups
        for instance in group.instances
        for name in endpoints
    )
    part = Installation(
        endpoints=refs,
        bundle=None if bundle is None else tuple(map(Fingerprint, bundle)),
        chain=None if chain is None else (Fingerprint(f"{chain}:leaf"),),
        file=file,
    )
    return InstallMaterial(parts=(part,))


def planned(fleet: Fleet, made: build.World, asked: InstallMaterial) -> Plan:
    """Plan towards what is installed."""
    return plan(fleet, asked, knowledge=made.knowledge(), now=build.NOW)


def after(fleet: Fleet, found: Plan) -> Fleet:
    """The fleet as it would be observed once all of a plan was done, files included."""
    files = {
        (name, endpoint): file
        for rollout in found.rollouts
        for assignment in rollout.assignments
        for name in assignment.instances
        for endpoint, file in zip(assignment.endpoints, assignment.files, strict=False)
        if file is not None
    }
    done = build.after(fleet, found.rollouts)
    groups = tuple(
        msgspec.structs.replace(
            group,
            instances=tuple(
                msgspec.structs.replace(
                    instance,
                    endpoints=tuple(
                        msgspec.structs.replace(
                            endpoint,
                            bundle_file=files.get(
                                (instance.name, endpoint.name), endpoint.bundle_file
                            ),
                        )
                        for endpoint in instance.endpoints
                    ),
                )
                for instance in group.instances
            ),
        )
        for group in done.groups
    )
    return msgspec.structs.replace(done, groups=groups)


def test_a_renewal_with_the_issuers_own_ca_is_refused_at_both_ends_of_the_gateways() -> None:
    """Nobody trusts the new intermediate, and cluster b would trust nobody: no step is safe."""
    fleet = supercluster(made := world())
    found = planned(fleet, made, goal(fleet, groups=("b",), chain="e1", bundle=("e1",)))
    assert (found.rollouts, found.complete) == ((), False)
    assert {violation.rule for violation in found.blocked} <= {
        "trust-before-use",
        "reissue-before-withdraw",
    }
    links = {
        (violation.witness.dialer.endpoint, violation.witness.acceptor.endpoint)
        for violation in found.blocked
        if violation.witness
    }
    assert links == {("gateway-remote", "gateway")}
    assert {
        violation.witness.dialer.instance[0] for violation in found.blocked if violation.witness
    } == {"a", "b"}


def test_a_renewal_by_another_intermediate_needs_the_bundle_first() -> None:
    """The remedy is said with the refusal."""
    fleet = supercluster(made := world())
    found = planned(fleet, made, goal(fleet, groups=("b",), chain="e1"))
    assert {violation.rule for violation in found.blocked} == {"trust-before-use"}
    assert all("rollover rotate --bundle" in violation.lift for violation in found.blocked)


def test_gateways_are_named_before_every_other_link() -> None:
    """A cluster that is cut off looks healthy from within: its routes are the lesser evil."""
    fleet = supercluster(made := world())
    everything = ("client-port", "route", *GATEWAYS)
    found = planned(fleet, made, goal(fleet, groups=("b",), endpoints=everything, chain="e1"))
    kinds = [
        violation.witness.acceptor.endpoint for violation in found.blocked if violation.witness
    ]
    assert kinds == sorted(kinds)
    assert set(kinds) == {"gateway", "route"}


def test_a_bundle_equal_to_todays_trust_only_moves_to_its_file() -> None:
    """One rollout for each cluster, whose proof is that nothing changes; then nothing is left."""
    fleet = supercluster(made := world())
    asked = goal(fleet, bundle=("r3",), file=BY_FILE)
    found = planned(fleet, made, asked)
    assert sorted(item.group for item in found.rollouts) == ["a", "b"]
    assert found.complete
    assert found.lower_bound == 2
    for rollout in found.rollouts:
        assert rollout.phases == (Phase.REPOINT,)
        assert {change.endpoint for change in rollout.changes} == set(GATEWAYS)
        assert {(change.file_from, change.file) for change in rollout.changes} == {
            ("gateway-ca.pem", BY_FILE)
        }
        assert all(change.trust is None and change.present is None for change in rollout.changes)
    assert planned(after(fleet, found), made, asked).converged


def test_a_wider_bundle_goes_straight_to_everybody() -> None:
    """Nobody's chain changes, so no order is better than another, and nothing comes in between."""
    fleet = supercluster(made := world())
    found = planned(fleet, made, goal(fleet, bundle=BOTH, file=BY_FILE))
    assert len(found.rollouts) == found.lower_bound == 2
    assert {rollout.phases for rollout in found.rollouts} == {(Phase.REPOINT, Phase.TRUST)}
    assert found.point_of_no_return is None


def test_only_the_chosen_leave_a_file_that_is_shared() -> None:
    """Who stays behind keeps the file, and what it trusts."""
    fleet = supercluster(made := world())
    found = planned(fleet, made, goal(fleet, endpoints=("gateway",), bundle=BOTH, file=BY_FILE))
    (assignment,) = found.rollouts[0].assignments
    assert assignment.files == (None, None, BY_FILE, None)
    assert assignment.trusts == (("own",), ("own",), BOTH, ("r3",))


def test_with_the_bundle_in_place_the_renewal_passes() -> None:
    """The same renewal, one rollout, safe in every mixture; also the way back to the old issuer."""
    fleet = supercluster(made := world())
    wider = planned(fleet, made, goal(fleet, bundle=BOTH, file=BY_FILE))
    curated = after(fleet, wider)
    found = planned(curated, made, goal(curated, groups=("b",), chain="e1"))
    assert [rollout.group for rollout in found.rollouts] == ["b"]
    assert found.complete
    assert found.rollouts[0].phases == (Phase.REISSUE,)
    renewed = after(curated, found)
    back = planned(renewed, made, goal(renewed, groups=("b",), chain="r3"))
    assert [rollout.group for rollout in back.rollouts] == ["b"]


def test_a_narrower_bundle_that_somebody_still_needs_is_refused() -> None:
    """The links that would break are named; without those peers it would be safe."""
    fleet = supercluster(made := world(), trusts=BOTH)
    found = planned(fleet, made, goal(fleet, bundle=("e1",)))
    assert found.rollouts == ()
    assert {violation.rule for violation in found.blocked} == {"reissue-before-withdraw"}
    assert "gateway" in found.blocked[0].message
    narrower = planned(fleet, made, goal(fleet, bundle=("r3",)))
    assert {rollout.phases for rollout in narrower.rollouts} == {(Phase.WITHDRAW,)}
    assert narrower.point_of_no_return == 1


def test_a_renewal_goes_on_where_only_some_servers_have_it() -> None:
    """A chain that is like the one before is another one all the same."""
    fleet = supercluster(made := world())
    made.add(build.certificate("r3:leaf2"))
    asked = goal(fleet, groups=("b",), chain="r3")
    part = msgspec.structs.replace(asked.parts[0], chain=(Fingerprint("r3:leaf2"),))
    asked = InstallMaterial(parts=(part,))
    whole = planned(fleet, made, asked)
    assert whole.rollouts[0].instances == 2
    first = msgspec.structs.replace(
        whole.rollouts[0],
        assignments=tuple(
            msgspec.structs.replace(assignment, instances=(InstanceName("b1"),))
            for assignment in whole.rollouts[0].assignments
        ),
    )
    left = planned(build.after(fleet, [first]), made, asked)
    assert [
        name for assignment in left.rollouts[0].assignments for name in assignment.instances
    ] == ["b2"]
    assert planned(build.after(fleet, whole.rollouts), made, asked).converged


def test_a_chain_without_the_name_that_peers_dial_is_refused() -> None:
    """Trusted or not: whoever looks at the name says no."""
    fleet = supercluster(made := world(), trusts=BOTH)
    wrong = msgspec.structs.replace(build.certificate("e1:leaf"), dns_names=("elsewhere",))
    made.add(wrong)
    found = planned(fleet, made, goal(fleet, groups=("b",), chain="e1"))
    assert found.rollouts == ()
    faults = [
        fault
        for violation in found.blocked
        if violation.witness
        for fault in violation.witness.faults
    ]
    assert {fault.kind for fault in faults} == {FaultKind.NAME}


@pytest.mark.parametrize("chain", [None, "e1"])
def test_who_is_out_of_reach_is_left_behind_and_named(chain: str | None) -> None:
    """The others get what is given, as long as that cuts nobody off."""
    fleet = supercluster(made := world(), trusts=BOTH)
    fleet = build.with_availability(fleet, {"b2": Availability.UNREACHABLE}, {})
    bundle = None if chain else ("r3",)
    found = planned(fleet, made, goal(fleet, groups=("b",), chain=chain, bundle=bundle))
    assert [rollout.instances for rollout in found.rollouts] == [1]
    assert not found.complete
    assert [violation.rule for violation in found.blocked] == ["left-behind"]
