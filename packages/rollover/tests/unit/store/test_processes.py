"""Which holders of leases are known to be dead: processes of this machine that have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rigs.stored import NOON, holder, later
from rollover.errors import StaleError
from rollover.store.leases import is_known_dead, open_leases, this_process


def test_each_holder_of_a_process_is_distinct() -> None:
    """Two tasks of one process never hold one lease between them."""
    one, two = this_process(), this_process()

    assert one != two
    assert one.pid == two.pid == os.getpid()


def test_a_living_process_is_not_dead() -> None:
    """This process lives."""
    assert not is_known_dead(this_process())


def test_a_process_number_that_was_given_again_is_dead() -> None:
    """The start time tells apart processes that had the same number."""
    assert is_known_dead(msgspec.structs.replace(this_process(), started="1"))


def test_without_a_start_time_only_an_unused_number_is_dead() -> None:
    """The fallback of systems without /proc: in doubt the holder lives."""
    assert not is_known_dead(msgspec.structs.replace(this_process(), started=""))


@pytest.mark.parametrize("field", ["host", "boot"])
def test_nothing_is_known_of_other_machines_and_containers(field: str) -> None:
    """A number means something in its own host, boot and namespace only."""
    elsewhere = msgspec.structs.replace(this_process(), pid=2**22 - 1, **{field: "another"})

    assert not is_known_dead(elsewhere)
    assert not is_known_dead(holder())


HOLDING = """
import sys
from datetime import datetime
from pathlib import Path
from rollover.store.leases import this_process
from rollover.store.leases import open_leases
leases = open_leases(Path(sys.argv[1]))
leases.acquire("nats-ca", this_process(), seconds=3600, now=datetime.fromisoformat(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    """While it lives its lease holds; after kill -9 the next run goes on, zombie or not."""
    path = tmp_path / "leases.db"
    command = [sys.executable, "-c", HOLDING, str(path), NOON.isoformat()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process, open_leases(path) as leases:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StaleError, match=f"process {process.pid}"):
            leases.acquire("nats-ca", this_process(), seconds=30, now=later(1))

        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        taken = leases.acquire("nats-ca", this_process(), seconds=30, now=later(1))

    assert taken.token == 2
    assert taken.holder.pid == os.getpid()
