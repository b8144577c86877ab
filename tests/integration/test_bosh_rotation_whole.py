"""A whole rotation of a BOSH's NATS CA, watched: every agent, every file, every process."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from bosh_interpolate.values import Tree
from rigs.bosh_lab import NAMES, BoshLab, bosh_lab, every_agent_answers, in_a_hurry, pinging_of
from rigs.bosh_rotating import (
    Announced,
    Run,
    announced,
    backups,
    command,
    create_envs,
    entries,
    key_pieces,
    leaks,
    machines,
    ops_files,
    rotate,
    state,
    trusted_by_nats,
    variables,
    watching_command_lines,
)
from rollover.fleet.journal import EntryKind
from rollover_lab.bosh.pinging import PingReport, TimeSpan

AGENTS = 10
OWNER_ONLY = 0o077
LONGEST_SILENCE_SECONDS = 45.0
"""Around a recreation of the director VM: agents give up their connection and start again."""


class Before(NamedTuple):
    """What there was before."""

    manifest: bytes
    variables: dict[str, Tree]
    machines: dict[str, str | None]
    keys: frozenset[str]


class Rotated(NamedTuple):
    """A lab whose CA was rotated, what there was before, and what was seen meanwhile."""

    lab: BoshLab
    before: Before
    run: Run
    pings: PingReport
    command_lines: set[bytes]


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    """Ten agents in two deployments, rotated once under a continuous ping of all of them."""
    spec = in_a_hurry(agents=AGENTS, deployments=2, max_in_flight=3)
    with bosh_lab(tmp_path_factory.mktemp("labs") / "lab", spec) as lab:
        before = Before(
            lab.layout.manifest.read_bytes(),
            variables(lab),
            machines(lab),
            key_pieces(lab.layout.credentials),
        )
        with pinging_of(lab) as pings, watching_command_lines() as command_lines:
            every_agent_answers(lab, pings)
            run = rotate(lab)
            every_agent_answers(lab, pings)
        yield Rotated(lab, before, run, pings.report(), command_lines.seen)


def test_it_is_the_documented_procedure(rotated: Rotated) -> None:
    """Director, agents, director, agents; then the vars store is cleaned up."""
    assert rotated.run.code == 0, rotated.run.said
    assert [pair.group for pair in announced(rotated.lab)] == ["director", "agents"] * 2
    assert trusted_by_nats(rotated.lab) == 1


def test_every_agent_answers_but_for_announced_interruptions(rotated: Rotated) -> None:
    """Silences are inside of rollouts; long ones only of the director VM, twice for each agent."""
    rollouts = announced(rotated.lab)
    report = rotated.pings
    assert len(report.agents) == AGENTS
    assert not any(agent_pings.gone for agent_pings in report.agents)
    for agent in report.agents:
        around = Counter(_explanation(silence, rollouts) for silence in agent.silences)
        assert around.keys() <= {"director", "agents"}, (agent, rollouts)
        assert around["director"] <= 2, (agent, rollouts)
        assert agent.answered > agent.lost
    assert report.longest_silence_seconds < LONGEST_SILENCE_SECONDS
    assert {_explanation(outage, rollouts) for outage in report.outages} == {"director"}


def test_no_vm_is_made_anew(rotated: Rotated) -> None:
    """New stemcells take their credentials in place."""
    assert machines(rotated.lab) == rotated.before.machines


def test_the_operators_files_are_as_before_but_for_new_values(rotated: Rotated) -> None:
    """The manifest byte for byte, the vars store with its names; only four values are new."""
    lab, before = rotated.lab, rotated.before
    assert lab.layout.manifest.read_bytes() == before.manifest
    after = variables(lab)
    assert after.keys() == before.variables.keys()
    assert {name for name in after if after[name] != before.variables[name]} == set(NAMES)
    assert ops_files(lab) == ()


def test_the_operators_own_line_finds_nothing_to_deploy(rotated: Rotated) -> None:
    """What is deployed is what the manifest and the vars store say without any ops file."""
    assert "Skipping deploy." in rotated.lab.create_env()


def test_a_second_rotation_finds_nothing_to_do(rotated: Rotated) -> None:
    """It looks, says so, and neither runs `create-env` nor deploys."""
    rollouts, called = announced(rotated.lab), create_envs(rotated.lab)
    run = rotate(rotated.lab)
    assert run.code == 0, run.said
    assert "nothing to do" in run.said
    assert (announced(rotated.lab), create_envs(rotated.lab)) == (rollouts, called)


def test_a_verification_holds(rotated: Rotated) -> None:
    """Fresh handshakes and pings of every agent."""
    run = command(rotated.lab, "verify")
    assert run.code == 0, run.said


def test_no_private_key_is_said_or_left_anywhere(rotated: Rotated) -> None:
    """Not in outputs, the journal, logs or command lines; only in the one backup."""
    lab = rotated.lab
    pieces = rotated.before.keys | key_pieces(lab.layout.credentials)
    assert len(pieces) > len(rotated.before.keys)
    assert not leaks(pieces, rotated.run.said.encode())
    for path in _files(state(lab)):
        if path not in backups(lab):
            assert not leaks(pieces, path.read_bytes()), path
    assert any(b"create-env" in command_line for command_line in rotated.command_lines)
    for line in rotated.command_lines:
        assert not leaks(pieces, line), line[:200]


def test_what_is_kept_is_for_the_owner_only(rotated: Rotated) -> None:
    """Every file and directory of Rollover's state, and the vars store."""
    lab = rotated.lab
    (backup,) = backups(lab)
    assert backup.name.startswith("creds.yml.")
    everything = [state(lab), *state(lab).rglob("*"), lab.layout.credentials]
    for path in everything:
        assert not stat.S_IMODE(path.stat().st_mode) & OWNER_ONLY, path


def test_the_journal_tells_each_confirmation(rotated: Rotated) -> None:
    """Every instance of every rollout, in order, and its end."""
    found = entries(rotated.lab)
    confirmed = [entry.subject for entry in found if entry.kind is EntryKind.CONFIRMED]
    assert len(confirmed) == 2 * (AGENTS + 1)
    assert EntryKind.FINISHED in {entry.kind for entry in found}
    assert all(one.at <= other.at for one, other in pairwise(found))


def _explanation(silence: TimeSpan, rollouts: Iterable[Announced]) -> str:
    """Return whose rollout explains a silence; `nothing` when none does."""
    return next((rollout.group for rollout in rollouts if rollout.explains(silence)), "nothing")


def _files(directory: Path) -> Iterator[Path]:
    yield from (path for path in directory.rglob("*") if path.is_file())
