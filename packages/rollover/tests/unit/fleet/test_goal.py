"""Goals: each says what an endpoint shall present and trust, without anybody asking of its kind."""

from __future__ import annotations

import msgspec
import pytest

from rigs import builders as build
from rollover.fleet.certificate import Chain
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.goal import (
    Approach,
    Goal,
    Installation,
    InstallMaterial,
    MaterialKind,
    Prospect,
    RotateAuthority,
    name_of,
)
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName

PORT = EndpointRef(InstanceName("n1"), EndpointName("port"))
OTHER = EndpointRef(InstanceName("n2"), EndpointName("port"))
OLD, NEW, FOREIGN = Fingerprint("old"), Fingerprint("new"), Fingerprint("foreign")
OLD_LEAF, NEW_LEAF = (Fingerprint("old:leaf"),), (Fingerprint("new:leaf"),)
BRIDGED = (*NEW_LEAF, build.BRIDGE)


def reissued(chain: Chain) -> Prospect | None:
    """What stands instead of a leaf of the old CA, or of the new one; others issued no chain."""
    issuer = {OLD_LEAF: OLD, NEW_LEAF: NEW, BRIDGED: NEW}.get(chain)
    if issuer is None:
        return None
    return Prospect(issuer, NEW_LEAF, BRIDGED if issuer == OLD else None)


def installed(*, bundle: bool = False, chain: bool = False) -> InstallMaterial:
    """Material for one endpoint."""
    part = Installation(
        endpoints=(PORT,), bundle=(NEW,) if bundle else None, chain=NEW_LEAF if chain else None
    )
    return InstallMaterial(parts=(part,))


def test_a_rotation_has_a_chain_reissued_by_its_target() -> None:
    """What the authority did not issue stays as it is."""
    goal = build.goal()
    assert goal.presents(PORT, OLD_LEAF, reissued).chains[-1] == NEW_LEAF
    foreign = (Fingerprint("foreign:leaf"),)
    for chain in (foreign, NEW_LEAF, ()):
        assert goal.presents(PORT, chain, reissued).chains == (chain,)


def test_a_bridge_serves_meanwhile_and_is_left_at_leisure() -> None:
    """With it a chain has arrived; a CA whose key leaked is bridged to nobody."""
    course = build.goal(bridge=True).presents(PORT, OLD_LEAF, reissued)
    assert course.chains == (OLD_LEAF, BRIDGED, NEW_LEAF)
    assert course.arrived == {BRIDGED, NEW_LEAF}
    bridged = build.goal(bridge=True).presents(PORT, BRIDGED, reissued)
    assert bridged.arrived == {BRIDGED, NEW_LEAF}
    leaked = build.goal(bridge=True, compromised=True).presents(PORT, OLD_LEAF, reissued)
    assert leaked.chains == (OLD_LEAF, NEW_LEAF)


def test_a_rotation_exchanges_the_versions_of_its_authority_in_a_bundle() -> None:
    """CAs of others stay in their order; a bundle of others stays whole."""
    goal = build.goal()
    assert goal.trusts(PORT, (FOREIGN, OLD)).end == (FOREIGN, NEW)
    assert goal.trusts(PORT, (FOREIGN,)).end == (FOREIGN,)


def test_an_installation_changes_only_whom_it_names() -> None:
    """They get exactly what was supplied; what was not keeps what they have."""
    goal = installed(bundle=True, chain=True)
    assert goal.presents(PORT, OLD_LEAF, reissued).chains == (OLD_LEAF, NEW_LEAF)
    assert goal.presents(PORT, NEW_LEAF, reissued).chains == (NEW_LEAF,)
    assert goal.trusts(PORT, (OLD,)).end == (NEW,)
    assert goal.presents(OTHER, OLD_LEAF, reissued).chains == (OLD_LEAF,)
    assert goal.trusts(OTHER, (OLD,)).end == (OLD,)
    assert installed(bundle=True).presents(PORT, OLD_LEAF, reissued).chains == (OLD_LEAF,)
    assert installed(chain=True).trusts(PORT, (OLD,)).end == (OLD,)


@pytest.mark.parametrize(
    ("goal", "name", "approach"),
    [
        (build.goal(), "nats-ca", Approach.CHEAPEST),
        (build.goal(compromised=True), "nats-ca", Approach.LEAST_HARM),
        (installed(bundle=True), "given-bundle", Approach.CHEAPEST),
        (installed(bundle=True, chain=True), "given-chain", Approach.AT_ONCE),
    ],
)
def test_a_goal_says_what_it_is_called_and_how_it_is_gone_to(
    goal: Goal, name: str, approach: Approach
) -> None:
    """A chain that others have issued comes at once or not at all; a leaked key leaves no time."""
    assert (name_of(goal.about), goal.approach) == (name, approach)


def test_an_authority_may_be_called_as_material_is() -> None:
    """The names are told apart: nobody pretends to be an authority."""
    named = msgspec.structs.replace(build.goal(), authority="given-bundle")
    assert named.about != MaterialKind.BUNDLE


def test_goals_are_told_apart_where_they_are_written_down() -> None:
    """Each comes back as what it was."""
    for goal in (build.goal(bridge=True), installed(bundle=True, chain=True)):
        written = msgspec.to_builtins(goal)
        found = msgspec.convert(written, RotateAuthority | InstallMaterial)
        assert found == goal
