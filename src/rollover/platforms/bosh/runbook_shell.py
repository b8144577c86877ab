"""The commands of a runbook for a shell: what is set beforehand, the gates, the operator's line."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rollover.platforms.bosh import properties
from rollover.platforms.bosh.command_line import CommandLine, placeholder, variable
from rollover.platforms.bosh.properties import BUNDLE
from rollover.platforms.bosh.runbook_drafting import AgentsStep, Draft
from rollover.platforms.bosh.runbook_facts import Facts

SETTINGS, GATE = "settings.sh", "gate"
_GATE_TEXT = "runbook_gate.sh"
_MANIFEST = "#@manifest"
"""The line of the gates that the operator's own flags take."""


class Shell(NamedTuple):
    """Where the runbook's files are, the operator's line, and when the plan was made."""

    directory: Path
    command: CommandLine
    made_at: datetime

    @property
    def stamp(self) -> str:
        """What tells this runbook's files from those of another."""
        return f"{self.made_at:%Y%m%dT%H%MZ}"

    @property
    def store(self) -> Path:
        """The vars store."""
        return self.command.vars_store or self.command.directory / "creds.yml"

    @property
    def private(self) -> Path:
        """The directory for what is secret: beside the vars store, so that a rename is one."""
        return self.store.parent / f"rotation-{self.stamp}"

    @property
    def left_out(self) -> tuple[str, ...]:
        """The variables that the line gives with `-v`: their values are not written down."""
        return tuple(each.partition("=")[0] for each in self.command.assignments)

    def create_env(self, ops_file: str) -> str:
        """Return the operator's line, with one of the files as the last ops file."""
        path = self.directory / ops_file if ops_file else None
        line = self.command.shown(path)
        return f"(cd {shlex.quote(str(self.command.directory))} &&\n  {line})"

    def make(self, ops_file: str) -> str:
        """Return what generates the variables that are missing, and deploys nothing."""
        ops = [self.directory / ops_file] if ops_file else []
        words = [*self._interpolating(ops), "--vars-store", '"$VARS_STORE"']
        return " ".join(words) + " > /dev/null"

    def manifest(self) -> str:
        """Return a function of a shell: what a vars store and an ops file come to.

        It is `bosh int` of the operator's own files, and generates nothing.
        """
        # What comes later wins: as on the operator's line, the store is asked last.
        words = self._interpolating([], store='"$store"')
        return (
            "# What `create-env` would deploy, with this vars store and ops file: secrets.\n"
            "manifest() {\n  store=$1 ops=$2\n  shift 2\n"
            f'  {" ".join(words)} ${{ops:+-o "$ops"}} "$@"\n}}'
        )

    def _interpolating(self, ops_files: list[Path], *, store: str = "") -> list[str]:
        command = self.command
        words = ["bosh", "int", shlex.quote(str(command.manifest)), "--var-errs"]
        words += [] if not store else ["-l", store]
        for flag, values in (
            ("-o", [*command.ops_files, *ops_files]),
            ("-l", command.vars_files),
            ("--vars-env", command.prefixes),
            ("--var-file", command.contents),
        ):
            for value in values:
                words += [flag, shlex.quote(str(value))]
        for name in self.left_out:
            words += ["-v", placeholder(name)]
        return words


def settings(facts: Facts, draft: Draft, shell: Shell) -> bytes:
    """Return `settings.sh`: names and paths for the shell of people and for the gates."""
    access = facts.access
    values = {
        "RUNBOOK": str(shell.directory),
        "PRIVATE": str(shell.private),
        "VARS_STORE": str(shell.store),
        "STATE_FILE": str(shell.command.state),
        "STAMP": shell.stamp,
        "BUNDLE": properties.tls_path(draft.manifest.group, BUNDLE).removesuffix("?"),
        "DIRECTOR_UUID": facts.uuid,
        "DEPLOYMENTS": " ".join(each.name for each in facts.deployments),
        "LEFT_OUT": " ".join(each.name for each in facts.instances if each.left_out),
        **_done_before(facts, draft),
        "BOSH_ENVIRONMENT": access.url,
    }
    if access.client is not None:
        values["BOSH_CLIENT"] = access.client
    if access.ca_cert is not None:
        values["BOSH_CA_CERT"] = str(access.ca_cert)
    lines = [
        "# For the shell in which you follow RUNBOOK.md, and for its gates: no secrets.",
        "# Read it with a dot: `. ./settings.sh`. It sets variables, and does nothing else.",
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        *_secret(access.secret_file),
        f'export NATS_MONITOR="${{NATS_MONITOR:-{access.monitor}}}"',
        "# They would hide deployments, or answer questions.",
        "unset BOSH_DEPLOYMENT BOSH_NON_INTERACTIVE",
    ]
    return ("\n".join(lines) + "\n").encode()


def _secret(path: Path | None) -> list[str]:
    if path is None:
        return []
    quoted = shlex.quote(str(path))
    return [f'export BOSH_CLIENT_SECRET="${{BOSH_CLIENT_SECRET:-$(cat {quoted})}}"']


def _done_before(facts: Facts, draft: Draft) -> dict[str, str]:
    """Return who needs nothing in a step of agents any more, where that is not nobody."""
    found = {}
    for number, step in enumerate(draft.steps, 1):
        if isinstance(step, AgentsStep):
            meant = {name for each in step.rollout.assignments for name in each.instances}
            others = [each.name for each in facts.instances if each.name not in meant]
            if others:
                found[f"DONE_BEFORE_{number}"] = " ".join(others)
    return found


def gate(shell: Shell) -> bytes:
    """Return `gate`: the gates, with the operator's own flags in them."""
    text = Path(__file__).with_name(_GATE_TEXT).read_text(encoding="utf-8")
    return text.replace(_MANIFEST, shell.manifest()).encode("utf-8", "surrogateescape")


def gates(*calls: str) -> str:
    """Return gates one after another, each only after those before have passed."""
    return " &&\n  ".join(f'"$RUNBOOK/gate" {call}' for call in calls)


def asked_for(names: tuple[str, ...]) -> str:
    """Return what stops, in a shell that lacks them, before a value that was left out is used."""
    return "\n".join(f'export {variable(name)}="${{{variable(name)}:?}}"' for name in names)
