"""Rotations of a BOSH lab in tests: the commands that operators start, and what they leave."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import msgspec

from bosh_interpolate import load_variables
from bosh_interpolate.values import Tree
from rigs.bosh_lab import BoshLab
from rigs.patience import Patience
from rollover.fleet.journal import Entry, EntryKind
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.store.journal import open_journal
from rollover_lab.bosh.pinging import TimeSpan

PROGRAM = str(Path(sys.executable).with_name("rollover"))
RUN_SECONDS = 1200.0
PS_SECONDS = 0.05
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(.+?)-----END", re.DOTALL)
PIECE_OCTETS = 48
"""So much of the middle of a key is not in anything else by chance."""


class Run(NamedTuple):
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """All that it said."""
        return self.output + self.errors

    def data(self, kind: str) -> dict[str, object]:
        """Return what it printed as JSON, below the name of its schema."""
        found = msgspec.json.decode(self.output, type=dict[str, object])[kind]
        assert isinstance(found, dict)
        return found


def begin(lab: BoshLab, *arguments: str, fleet: Path | None = None) -> subprocess.Popen[str]:
    """Start a command on the lab's fleet, without a terminal."""
    return subprocess.Popen(
        [PROGRAM, *arguments, "--fleet", str(fleet or lab.layout.fleet)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def ended(process: subprocess.Popen[str]) -> Run:
    """Wait for a command's end."""
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS)
    finally:
        process.kill()
    return Run(process.returncode, output, errors)


def command(lab: BoshLab, *arguments: str, fleet: Path | None = None) -> Run:
    """Run a command on the lab's fleet to its end."""
    return ended(begin(lab, *arguments, fleet=fleet))


def rotate(lab: BoshLab, *arguments: str) -> Run:
    """Run `rollover rotate --yes`."""
    return command(lab, "rotate", "--yes", *arguments)


def state(lab: BoshLab) -> Path:
    """Return Rollover's state directory."""
    return lab.layout.root / ".rollover"


def backups(lab: BoshLab) -> tuple[Path, ...]:
    """Return the copies of the vars store that are kept."""
    return tuple((state(lab) / "bosh" / "backups").glob("*"))


def ops_files(lab: BoshLab) -> tuple[Path, ...]:
    """Return the ops files that are kept."""
    return tuple((state(lab) / "bosh" / "ops").rglob("*.yml"))


# What a director and its agents have.


def variables(lab: BoshLab) -> dict[str, Tree]:
    """Return the vars store."""
    return {str(name): value for name, value in _variables(lab.layout.credentials).items()}


def _variables(path: Path) -> dict[str, Tree]:
    return dict(load_variables(path.read_bytes()))


def trusted_by_nats(lab: BoshLab) -> int:
    """Return how many CAs the director's NATS trusts."""
    return (lab.layout.director_vm.nats / "ca.pem").read_text().count("BEGIN CERTIFICATE")


def machines(lab: BoshLab) -> dict[str, str | None]:
    """Return the VM of every instance."""
    return {str(bosh_instance.name): bosh_instance.vm_cid for bosh_instance in placed(lab)}


def placed(lab: BoshLab) -> tuple[BoshInstance, ...]:
    """Return every instance, without asking its agent."""
    return tuple(one for name in lab.deployments() for one in lab.director.placed(name))


def instance(lab: BoshLab, deployment: str, group: str) -> BoshInstance:
    """Return the first instance of a group."""
    found = [
        bosh_instance
        for bosh_instance in placed(lab)
        if (bosh_instance.deployment, bosh_instance.group) == (deployment, group)
    ]
    return min(found, key=lambda each: each.index or 0)


def create_envs(lab: BoshLab) -> int:
    """Return how often `create-env` was run by Rollover."""
    return len(tuple((state(lab) / "bosh").glob("create-env-*.log")))


# The journal.


def entries(lab: BoshLab) -> list[Entry]:
    """Return the whole journal, after checking that its chain is whole."""
    with open_journal(state(lab) / "journal.db") as journal:
        journal.verify()
        found: list[Entry] = []
        while page := journal.entries(after=len(found)):
            found += page
    return found


def count(lab: BoshLab, kind: EntryKind, subject: str) -> int:
    """Return how many such entries there are by now, while another process writes them."""
    path = state(lab) / "journal.db"
    if not path.exists():
        return 0
    asked = "SELECT count(*) FROM entries WHERE kind = ? AND subject = ?"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        try:
            return int(connection.execute(asked, (kind.value, subject)).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def task_descriptions(lab: BoshLab, deployment: str = "%") -> list[str]:
    """Return what the director was asked to do with deployments of such a name, in order."""
    path = lab.layout.director_vm.database
    asked = "SELECT description FROM tasks WHERE deployment LIKE ? ORDER BY id"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        return [str(row[0]) for row in connection.execute(asked, (deployment,))]


class Announced(NamedTuple):
    """A rollout: when interruptions of its instances, or of all that hang on them, are expected."""

    group: str
    span: TimeSpan

    def explains(self, silence: TimeSpan) -> bool:
        """Say whether the two have an instant in common."""
        return self.span.began <= silence.ended and silence.began <= self.span.ended


def announced(lab: BoshLab) -> tuple[Announced, ...]:
    """Return the rollouts that were begun and finished, with their times."""
    found: list[Announced] = []
    open_since: Entry | None = None
    for entry in entries(lab):
        if entry.kind is EntryKind.ROLLOUT_STARTED:
            open_since = entry
        elif entry.kind is EntryKind.ROLLOUT_FINISHED and open_since is not None:
            found.append(Announced(entry.subject, TimeSpan(began=open_since.at, ended=entry.at)))
            open_since = None
    return tuple(found)


# Waiting.


def until(
    wanted: Callable[[], bool], *, while_runs: subprocess.Popen[str], seconds: float = 120.0
) -> None:
    """Wait for something that is to happen while a command runs."""
    patience = Patience(seconds)
    while not wanted():
        if while_runs.poll() is not None:
            raise AssertionError(f"it ended before: {while_runs.communicate()}")
        assert patience.lasts(), "it did not happen in time"
        time.sleep(0.02)


# Secrets.


def key_pieces(*files: Path) -> frozenset[str]:
    """Return a piece of every private key in some files, as it would be written anywhere."""
    found: set[str] = set()
    for path in files:
        for body in KEY.findall(path.read_text()):
            text = "".join(body.split())
            middle = len(text) // 2
            found.add(text[middle : middle + PIECE_OCTETS])
    return frozenset(found)


def leaks(pieces: frozenset[str], content: bytes) -> bool:
    """Say whether a piece of a private key is in something, with or without line ends."""
    plain = content.replace(b"\\n", b"").translate(None, b" \r\n")
    return b"PRIVATE KEY" in content or any(piece.encode() in plain for piece in pieces)


class CommandLines:
    """The command lines that `ps` showed while this was running."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def look(self) -> None:
        """Note every command line that there is now."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.seen.add(path.read_bytes())
            except OSError:
                continue


@contextmanager
def watching_command_lines() -> Iterator[CommandLines]:
    """Look at all processes, again and again, for the body of `with`."""
    found, stopping = CommandLines(), Event()

    def watch() -> None:
        while not stopping.wait(PS_SECONDS):
            found.look()

    thread = Thread(target=watch, name="ps", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()
