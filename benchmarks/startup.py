"""Start-up of `rollover --help` and `rollover status` beside the bare interpreter.

Run: `python benchmarks/startup.py [ROUNDS]`. The commands take turns with the interpreter, so that
other work on the machine disturbs all alike; medians are compared. Byte code is compiled once
beforehand into a directory of its own, as an installation has it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from rollover.fleet.journal import EntryKind, Plain
from rollover.store.journal import open_journal

ROUNDS = 25
INSTANCES = 200
"""Confirmed instances in the journal that `status` reads."""


class Case(NamedTuple):
    """One command line, and how many times the bare interpreter it may take."""

    name: str
    arguments: tuple[str, ...]
    goal: float | None = None


def cases(fleet: Path) -> tuple[Case, ...]:
    """Return what is measured; the bare interpreter first."""
    run = "from rollover.cli.app import main; main()"
    return (
        Case("python -c pass", ("-c", "pass")),
        Case("import click", ("-c", "import click")),
        Case("rollover --help", ("-c", run, "--help"), goal=5),
        Case("rollover status", ("-c", run, "status", "--fleet", str(fleet)), goal=8),
        Case("rollover explain", ("-c", run, "explain", "left-behind")),
    )


def prepare(folder: Path) -> Path:
    """Write a fleet file and the journal of a rotation that is half done; return the file."""
    fleet = folder / "fleet.yml"
    fleet.write_text("version: 1\nname: bench\ngroups: []\n")
    (folder / ".rollover").mkdir(mode=0o700)
    at = datetime.now(UTC) - timedelta(hours=1)
    first: dict[str, Plain] = {
        "number": 1,
        "group": "servers",
        "phases": ["trust"],
        "instances": INSTANCES,
    }
    with open_journal(folder / ".rollover" / "journal.db") as journal:
        intent: dict[str, Plain] = {"goal": {"authority": "nats-ca"}}
        journal.append("r1", EntryKind.STARTED, at=at, data={"fleet": "bench", "intent": intent})
        planned: dict[str, Plain] = {"whole": 5, "rollouts": [first], "point_of_no_return": 4}
        journal.append("r1", EntryKind.PLANNED, at=at, data=planned)
        journal.append("r1", EntryKind.ROLLOUT_STARTED, at=at, data=first)
        for number in range(INSTANCES):
            journal.append("r1", EntryKind.CONFIRMED, at=at, subject=f"n{number}")
    return fleet


def run(case: Case, environment: dict[str, str]) -> float:
    """Run a command once and return its wall time in milliseconds."""
    begun = perf_counter()
    subprocess.run(
        [sys.executable, *case.arguments],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return (perf_counter() - begun) * 1000


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = cases(prepare(folder))
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {case.name: [] for case in measured}
        for case in measured:
            run(case, environment)
        for _ in range(rounds):
            for case in measured:
                times[case.name].append(run(case, environment))
    show(measured, {name: statistics.median(each) for name, each in times.items()}, rounds)


def show(measured: tuple[Case, ...], medians: dict[str, float], rounds: int) -> None:
    """Print each command's median, and how many times the interpreter's it is."""
    bare = medians[measured[0].name]
    print(f"wall time of a whole process, median of {rounds} interleaved runs")
    print(f"{'command':20}{'ms':>8}{'times bare':>12}{'goal':>8}")
    for case in measured:
        goal = f"≤ {case.goal:.0f}" if case.goal else ""
        print(f"{case.name:20}{medians[case.name]:8.1f}{medians[case.name] / bare:12.1f}{goal:>8}")


if __name__ == "__main__":
    main()
