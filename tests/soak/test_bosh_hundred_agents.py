"""The rotation of a hundred agents, ten at a time, under a continuous ping of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.bosh_lab import NAMES, bosh_lab, every_agent_answers, in_a_hurry, pinging_of
from rigs.bosh_rotating import announced, machines, rotate, trusted_by_nats, variables
from rollover.errors import ExitCode

pytestmark = pytest.mark.soak

AGENTS = 100
MAX_IN_FLIGHT = 10


def test_a_hundred_agents_answer_but_for_announced_interruptions(tmp_path: Path) -> None:
    """Every silence is inside of a rollout; no VM is made anew; the files are in order after it."""
    spec = in_a_hurry(agents=AGENTS, deployments=4, max_in_flight=MAX_IN_FLIGHT)
    with bosh_lab(tmp_path / "lab", spec) as lab:
        manifest, before = lab.layout.manifest.read_bytes(), variables(lab)
        machines_before = machines(lab)
        with pinging_of(lab) as pings:
            every_agent_answers(lab, pings)
            run = rotate(lab)
            every_agent_answers(lab, pings)
        report, rollouts = pings.report(), announced(lab)
        print(f"longest silence {report.longest_silence_seconds:.1f} s; {rollouts}")  # noqa: T201 - a soak's numbers
        assert run.code == ExitCode.DONE, run.said
        assert [rollout.group for rollout in rollouts] == ["director", "agents"] * 2
        assert len(report.agents) == AGENTS
        for agent in report.agents:
            for silence in agent.silences:
                assert any(rollout.explains(silence) for rollout in rollouts), (agent, rollouts)
        assert machines(lab) == machines_before
        assert trusted_by_nats(lab) == 1
        assert lab.layout.manifest.read_bytes() == manifest
        after = variables(lab)
        assert {name for name in after if after[name] != before[name]} == set(NAMES)
        again = rotate(lab)
        assert again.code == ExitCode.DONE, again.said
        assert announced(lab) == rollouts
