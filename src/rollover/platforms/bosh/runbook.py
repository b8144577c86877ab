"""A rotation as files and instructions, for people who let no tool do it.

The steps are those of a plan, the ops files those that a rollout would use, made for the manifest
at hand; nothing in them is secret. Gates are those that Rollover itself would insist on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollover import replacing
from rollover.fleet.plan import Plan
from rollover.platforms.bosh import runbook_drafting, runbook_shell, runbook_text
from rollover.platforms.bosh.environment import Environment
from rollover.platforms.bosh.runbook_facts import Facts
from rollover.platforms.bosh.runbook_scene import Scene
from rollover.platforms.bosh.runbook_shell import GATE, SETTINGS, Shell

RUNBOOK = "RUNBOOK.md"
_READABLE, _EXECUTABLE, _DIRECTORY = 0o644, 0o755, 0o755


def write_runbook(
    directory: Path,
    plan: Plan,
    *,
    environment: Environment,
    facts: Facts,
    kept: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write ops files, gates and `RUNBOOK.md` into a directory, and return what was written.

    `kept`: the ops files of a rotation that is under way already (`Workplace.ops_files`). Raises
    `SpecError` when the manifest cannot be interpolated, or the plan is none for people. There is
    no private key in anything that is written.
    """
    draft = runbook_drafting.draft(plan, environment, kept=kept)
    shell = Shell(directory.absolute(), environment.command, plan.made_at)
    everything = {
        **draft.files,
        SETTINGS: runbook_shell.settings(facts, draft, shell),
        GATE: runbook_shell.gate(shell),
        RUNBOOK: runbook_text.document(plan, Scene(draft, facts, shell)).encode(),
    }
    directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    for name, content in everything.items():
        mode = _EXECUTABLE if name == GATE else _READABLE
        replacing.replace(directory / name, content, mode=mode, durable=False)
    return tuple(directory / name for name in everything)
