"""Agents of a lab, rotated by a real director's algorithm and directly, on a real nats-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.bosh_agents_rig import AgentsRig
from rigs.bosh_lab import BoshLab, add_new_ca, bosh_lab, eventually, in_a_hurry, remove_old_ca
from rollover.engine.ports import Moment
from rollover.fleet.evidence import Applied, Failed
from rollover.fleet.fleet import Availability


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[BoshLab]:
    """Four agents in two deployments."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2)) as made:
        yield made


def test_a_rotation_by_the_director_and_then_directly(lab: BoshLab, tmp_path: Path) -> None:
    """Both rounds are proven agent by agent; every agent answers after each `create-env`."""
    rig = AgentsRig(lab, tmp_path / "state")
    old = rig.issued_credentials().signer
    seen = rig.observe()
    assert {value.availability for value in seen.values()} == {Availability.READY}, seen
    assert rig.bundles() == {(old,)}
    assert "bosh-connections-unseen" not in {f.rule for f in rig.platform.findings(Moment.CHECK)}

    lab.create_env(lab.ops_file("add.json", add_new_ca()))
    new = rig.issued_credentials().signer
    evidence = list(rig.platform.handshakes(rig.names, accepted=(), refused=()))
    assert [item.observed for item in evidence] == ["pong"] * 4
    assert rig.bundles() == {(old,)}
    results = rig.roll_out()
    assert [type(result) for result in results] == [Applied] * 4, results
    assert rig.bundles() == {(old, new)}

    direct = AgentsRig(lab, tmp_path / "state", in_place="direct")
    lab.create_env(lab.ops_file("remove.json", remove_old_ca()))
    assert direct.bundles() == {(old, new)}
    results = direct.roll_out()
    assert [type(result) for result in results] == [Applied] * 4, results
    assert direct.bundles() == {(new,)}
    assert "bosh-record-stale" in {
        finding.rule for finding in direct.platform.findings(Moment.AFTER)
    }


def test_a_hung_agent_and_a_crashing_one_are_named(lab: BoshLab, tmp_path: Path) -> None:
    """The hung one cannot be seen; the one that loses its settings did not change (H2)."""
    rig = AgentsRig(lab, tmp_path / "state")
    rig.observe()
    first, second, *_ = sorted(lab.instances(), key=lambda each: each.name)
    assert first.agent_id is not None
    assert second.agent_id is not None
    lab.cloud.fault(first.agent_id, "hung")
    seen = rig.observe()
    assert seen[first.name].availability is Availability.UNREACHABLE
    assert "does not answer" in seen[first.name].why
    assert {each.availability for name, each in seen.items() if name != first.name} == {
        Availability.READY
    }
    lab.cloud.fault(first.agent_id, "none")
    eventually(lambda: rig.observe()[first.name].availability is Availability.READY)

    lab.create_env(lab.ops_file("add.json", add_new_ca()))
    direct = AgentsRig(lab, tmp_path / "state", in_place="direct")
    list(direct.platform.handshakes(rig.names, accepted=(), refused=()))
    lab.cloud.fault(second.agent_id, "crash-before-save")
    results = direct.roll_out([order for order in rig.orders() if order.instance == second.name])
    (failed,) = results
    assert isinstance(failed, Failed), results
    assert failed.code == "bosh-agent-unchanged"
    (applied,) = direct.roll_out([order for order in rig.orders() if order.instance == second.name])
    assert isinstance(applied, Applied)


def test_recovery_recreates_a_dead_agent_with_the_new_ca(lab: BoshLab, tmp_path: Path) -> None:
    """`deploy --fix`: the silent one gets a new VM, the others are updated in place."""
    rig = AgentsRig(lab, tmp_path / "state", recover=True)
    rig.observe()
    lab.create_env(lab.ops_file("add.json", add_new_ca()))
    list(rig.platform.handshakes(rig.names, accepted=(), refused=()))
    dead = min(lab.instances(), key=lambda each: each.name)
    assert dead.agent_id is not None
    lab.cloud.fault(dead.agent_id, "dead")
    seen = rig.observe()
    assert seen[dead.name].availability is Availability.READY
    assert "--fix" in seen[dead.name].why
    findings = {finding.rule for finding in rig.platform.findings(Moment.BETWEEN)}
    assert "bosh-agent-unresponsive" in findings
    results = rig.roll_out()
    assert [type(result) for result in results] == [Applied] * 4, results
    after = {instance.name: instance.agent_id for instance in lab.instances()}
    assert after[dead.name] != dead.agent_id
    assert rig.bundles() == {rig.issued_credentials().bundle}
    gate = list(rig.platform.handshakes(rig.names, accepted=(), refused=()))
    assert [evidence.observed for evidence in gate] == ["pong"] * 4
