"""Where a rotation's secrets are, and where they are not."""

from __future__ import annotations

import base64
import gc
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.rotating import RUN_SECONDS, SMALL, begin, command, entries, request, rotate
from rollover.fleet.journal import EntryKind
from rollover_lab.nats.lab import Lab, running

MARK = b"PRIVATE KEY"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet that was rotated once."""
    with running(SMALL, tmp_path_factory.mktemp("secrets") / "lab") as fleet:
        rotate(fleet)
        yield fleet


def _marks() -> set[bytes]:
    """Return the marker of a private key as it is, and as base64 at each of the three offsets."""
    found = {MARK}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + MARK)
        found.add(encoded[4 if offset else 0 : -4])
    return found


def _bodies(lab: Lab) -> set[bytes]:
    """Return a line of the base64 of every private key that lies in the fleet now."""
    return {
        path.read_bytes().splitlines()[1]
        for path in lab.directory.rglob("*.key")
        if path.read_bytes().startswith(b"-----BEGIN")
    }


def test_no_private_key_is_in_the_state_directory(lab: Lab) -> None:
    """Store, journal, leases and their WAL files: no PEM marker, no key of the fleet's."""
    wanted = _marks() | _bodies(lab)
    assert len(wanted) > len(_marks())
    files = [path for path in lab.layout.state.rglob("*") if path.is_file()]
    assert {"credentials.db", "journal.db", "leases.db"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        assert not [mark for mark in wanted if mark in content], file.name


def test_no_private_key_is_in_what_commands_say_or_in_their_arguments(lab: Lab) -> None:
    """Neither text nor JSON of any command, nor the command line of the rotator, shows a key."""
    said = b""
    with begin(lab, "rotate", "--yes", "--new", "--output", "json") as process:
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        said += process.communicate(timeout=RUN_SECONDS)[0].encode() + arguments
    for words in (("status",), ("verify",), ("plan", "--new"), ("journal",)):
        for output in ("text", "json"):
            code, output_text = command(lab, *words, "--output", output)
            assert code == 0, output_text
            said += output_text.encode()
    assert not [mark for mark in _marks() | _bodies(lab) if mark in said]


def test_the_journal_holds_fingerprints_and_verdicts(lab: Lab) -> None:
    """Evidence is in the journal in words: which fact, about whom, seen how."""
    confirmed = [item for item in entries(lab) if item.kind is EntryKind.CONFIRMED]
    assert confirmed
    for entry in confirmed:
        evidence = entry.data["evidence"]
        assert isinstance(evidence, list)
        assert {"fact", "subject", "holds", "observed", "by"} <= set(evidence[0])


def test_everything_that_is_written_is_private(lab: Lab) -> None:
    """Files of the state and of keys have mode 0600, their directories 0700."""
    private = [lab.layout.state, *lab.layout.state.rglob("*"), *lab.directory.rglob("*.key")]
    private += [path.parent for path in lab.directory.rglob("*.key")]
    for path in private:
        status = path.lstat()
        wanted = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
        assert stat.S_IMODE(status.st_mode) == wanted, path


def test_rotations_leave_no_thread_and_no_descriptor_behind(lab: Lab) -> None:
    """Three rotations in one process: as many threads and open files as after the first."""

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted

    rotate(lab, request())
    before = held()
    for _ in range(2):
        rotate(lab, request())
    assert held() == before
