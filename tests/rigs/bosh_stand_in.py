"""The commands of the bosh CLI that a runbook uses, for machines without it, over our own client.

Run as a program: a shim named `bosh` passes its arguments on. What it prints as JSON is laid out as
the real one's. Only flags that runbooks use are understood.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rigs.patience import Patience
from rollover.fleet.description import DirectorDescription
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import BoshInstance, DeployExtent, TaskState
from rollover.platforms.bosh.login import access_to

TASK_SECONDS = 240.0
IGNORED_FLAGS = frozenset(("-n", "--tty", "--no-color", "--json", "--details"))
Row = Mapping[str, str]


def director() -> Director:
    """The director of the environment variables."""
    described = DirectorDescription(environment=os.environ["BOSH_ENVIRONMENT"])
    access = access_to(described, environment=os.environ, base=Path())
    return Director(access, poll_seconds=0.1)


def table(content: str, columns: Iterable[str], rows: Iterable[Row]) -> None:
    """Print a table as `--json` lays it out."""
    found = list(rows)
    header = {column: column.upper() for column in sorted(columns)}
    tables = [{"Content": content, "Header": header, "Rows": found, "Notes": None}]
    sys.stdout.write(json.dumps({"Tables": tables, "Blocks": None, "Lines": []}, indent=4))


def env(asked: Director, _: list[str], __: str) -> None:
    """Print who the director is."""
    info = asked.info()
    table("", ("name", "uuid"), [{"name": info.name, "uuid": info.uuid}])


def deployments(asked: Director, _: list[str], __: str) -> None:
    """Print the names of all deployments."""
    table(
        "deployments", ("name",), ({"name": deployment.name} for deployment in asked.deployments())
    )


def locks(asked: Director, _: list[str], __: str) -> None:
    """Print who holds what."""
    rows = (
        {"resource": str(lock.resource), "task_id": lock.task_id, "type": lock.kind}
        for lock in asked.locks()
    )
    table("locks", ("resource", "task_id", "type"), rows)


def instances(asked: Director, _: list[str], __: str) -> None:
    """Print every instance, each agent asked."""
    rows = [
        _row(one) for deployment in asked.deployments() for one in asked.instances(deployment.name)
    ]
    table("instances", ("agent_id", "deployment", "instance", "process_state", "vm_cid"), rows)


def _row(one: BoshInstance) -> Row:
    return {
        "agent_id": one.agent_id or "",
        "deployment": one.deployment,
        "instance": f"{one.group}/{one.id}",
        "process_state": one.job_state or "",
        "vm_cid": one.vm_cid or "",
    }


def curl(asked: Director, words: list[str], _: str) -> None:
    """Print whether the resurrector is on, the one thing that is asked for like this."""
    assert words == ["/resurrection"]
    sys.stdout.write(json.dumps({"resurrection": asked.resurrection()}, separators=(",", ":")))


def update_resurrection(asked: Director, words: list[str], _: str) -> None:
    """Turn it on or off."""
    asked.set_resurrection(paused=words == ["off"])


def manifest(asked: Director, _: list[str], deployment: str) -> None:
    """Print the manifest of a deployment."""
    sys.stdout.write(asked.manifest(deployment))


def deploy(asked: Director, words: list[str], deployment: str) -> None:
    """Deploy, or show what would change."""
    text = Path(words[0]).read_text(encoding="utf-8")
    if "--dry-run" in words:
        marks = {"added": "+ ", "removed": "- "}
        for pair in asked.diff(deployment, text):
            sys.stdout.write(f"{marks.get(pair.change, '  ')}{pair.text}\n")
        return
    end(asked, asked.deploy(deployment, text, DeployExtent(fix="--fix" in words)))


def recreate(asked: Director, words: list[str], deployment: str) -> None:
    """Make VMs anew."""
    named = [word for word in words if not word.startswith("-")]
    group, _, one = named[0].partition("/") if named else ("", "", "")
    extent = DeployExtent(group=group or None, instance=one or None, fix="--fix" in words)
    end(asked, asked.recreate(deployment, extent))


def end(asked: Director, task: int) -> None:
    """Wait for a task; exit code 1 unless it is done."""
    patience = Patience(TASK_SECONDS)
    while not (state := asked.task(task).state).ended:
        if not patience.lasts():
            sys.exit(f"task {task} does not end")
        time.sleep(0.1)
    sys.stdout.write(f"Task {task} {state.value}\n")
    if state is not TaskState.DONE:
        sys.exit(1)


COMMANDS: dict[str, Callable[[Director, list[str], str], None]] = {
    "env": env,
    "deployments": deployments,
    "locks": locks,
    "instances": instances,
    "curl": curl,
    "update-resurrection": update_resurrection,
    "manifest": manifest,
    "deploy": deploy,
    "recreate": recreate,
}


def main(words: list[str]) -> None:
    """Run one command."""
    if "int" in words:
        from rollover.cli.app import main as rollover  # noqa: PLC0415 - its own command line

        sys.argv = ["rollover", *words]
        rollover()
        return
    deployment = words[words.index("-d") + 1] if "-d" in words else ""
    rest = [word for word in words if word not in {*IGNORED_FLAGS, "-d", deployment}]
    with director() as asked:
        COMMANDS[rest[0]](asked, rest[1:], deployment)


if __name__ == "__main__":
    main(sys.argv[1:])
