"""Who is missed by the health monitor, and when it keeps its hands off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollover_lab.bosh.health_monitor.roster import (
    AgentRoster,
    DeploymentHealth,
    DeploymentLine,
    InstanceLine,
)

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = START + timedelta(seconds=61)


def _roster(count: int, *, locked: bool = False) -> AgentRoster:
    roster = AgentRoster(agent_timeout=timedelta(seconds=60))
    instances = [InstanceLine(id=f"i{n}", job="web", agent_id=f"a{n}") for n in range(count)]
    roster.learn([(DeploymentLine(name="cf", locked=locked), instances)], START)
    return roster


def _all_but(roster: AgentRoster, silent: int, count: int) -> dict[str, dict[str, list[str]]]:
    for number in range(silent, count):
        roster.hear(f"a{number}", LATER, job_state="running")
    return roster.analyze(LATER)


def test_silence_counts_from_the_discovery_and_only_beyond_the_timeout() -> None:
    """An agent that was never heard is missing a timeout after the director named it."""
    roster = _roster(1)
    assert roster.analyze(START + timedelta(seconds=60)) == {}
    assert roster.analyze(LATER) == {"cf": {"web": ["i0"]}}
    roster.hear("a0", LATER, job_state="running")
    assert roster.analyze(LATER + timedelta(seconds=60)) == {}


@pytest.mark.parametrize(
    ("silent", "count", "health"),
    [
        (0, 10, DeploymentHealth.NORMAL),
        (1, 1, DeploymentHealth.MANAGED),
        (4, 4, DeploymentHealth.MANAGED),
        (5, 26, DeploymentHealth.MANAGED),
        (5, 25, DeploymentHealth.MELTDOWN),
        (100, 100, DeploymentHealth.MELTDOWN),
    ],
)
def test_a_meltdown_needs_five_agents_and_a_fifth_of_them(
    silent: int, count: int, health: DeploymentHealth
) -> None:
    """Hazard H15: below either threshold the resurrector acts."""
    roster = _roster(count)
    found = _all_but(roster, silent, count)
    assert sum(len(ids) for ids in found.get("cf", {}).values()) == silent
    assert roster.health("cf", LATER) is health


def test_an_alert_counts_for_ten_minutes_even_when_the_agent_is_back() -> None:
    """As in the real resurrector."""
    roster = _roster(2)
    _all_but(roster, 1, 2)
    roster.hear("a0", LATER, job_state="running")
    assert roster.health("cf", LATER + timedelta(minutes=10)) is DeploymentHealth.MANAGED
    assert roster.health("cf", LATER + timedelta(minutes=10, seconds=1)) is DeploymentHealth.NORMAL


def test_a_locked_deployment_is_left_alone() -> None:
    """A task works on it."""
    assert _roster(3, locked=True).analyze(LATER) == {}


def test_an_agent_that_took_its_leave_is_not_missed_until_it_is_named_again() -> None:
    """A drain for shutdown says so; the director's next list starts a new waiting time."""
    roster = _roster(1)
    roster.shut_down("a0")
    assert roster.analyze(LATER) == {}
    roster.learn(
        [(DeploymentLine(name="cf"), [InstanceLine(id="i0", job="web", agent_id="a0")])], LATER
    )
    assert roster.analyze(LATER + timedelta(seconds=61)) == {"cf": {"web": ["i0"]}}


def test_an_instance_that_should_have_a_vm_and_has_none_is_missed() -> None:
    """One that was stopped hard is not."""
    roster = AgentRoster(agent_timeout=timedelta(seconds=60))
    gone = [
        InstanceLine(id="i0", job="web", expects_vm=True),
        InstanceLine(id="i1", job="web", expects_vm=False),
    ]
    roster.learn([(DeploymentLine(name="cf"), gone)], START)
    assert roster.analyze(START) == {"cf": {"web": ["i0"]}}


def test_strangers_and_deleted_deployments_are_forgotten() -> None:
    """Heartbeats of unknown agents count, and that is all."""
    roster = _roster(1)
    roster.hear("stranger", LATER, job_state="running")
    assert roster.heartbeats == 1
    assert [agent.agent_id for agent in roster.agents(LATER)] == ["a0"]
    roster.learn([], LATER)
    assert roster.agents(LATER) == ()
    assert roster.deployments(LATER) == ()


def test_learning_again_keeps_what_was_heard() -> None:
    """A poll of the director is no heartbeat."""
    roster = _roster(1)
    roster.hear("a0", START, job_state="failing")
    roster.learn(
        [(DeploymentLine(name="cf"), [InstanceLine(id="i0", job="web", agent_id="a0")])], LATER
    )
    agent = roster.agents(LATER)[0]
    assert (agent.missing, agent.heard_at, agent.job_state) == (True, START, "failing")
