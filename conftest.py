"""What holds for all tests: the order of files, patience with examples, and what it all cost."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

LONGEST = (
    "test_bosh_runbook_by_hand.py",
    "test_bosh_rotation_left_behind.py",
    "test_bosh_lab_up.py",
    "test_bosh_agents.py",
    "test_bosh_lab_director_rotation.py",
    "test_bosh_rotation_expired.py",
    "test_bosh_rotation_killed.py",
    "test_rotation_left_behind.py",
    "test_bosh_rotation_back.py",
    "test_rotation_back.py",
    "test_bosh_rotation_whole.py",
    "test_rotation_killed.py",
    "test_bosh_lab_uaa.py",
    "test_supercluster_rotation.py",
    "test_supercluster_story.py",
    "test_rotation_steered.py",
    "test_bosh_rotation_direct.py",
    "test_lab_supercluster.py",
    "test_rotation_demo_fleet.py",
    "test_bosh_lab_agents.py",
    "test_bosh_director_vm.py",
    "test_rotation_crashes.py",
    "test_rotation_sources.py",
    "test_planner_safety.py",
)
"""Whoever is given one of these last lets all other workers wait for it."""

# A busy machine takes its time over an example now and then; that is no fault of the example.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


READY = "TESTS_READY_KEYS"
"""Names the directory of keys that labs of this session leave for each other."""
CPU = "cpu_seconds"
"""What a worker tells at its end: user and system time, its own and its children's."""
_of_workers: list[tuple[float, float]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Let workers be given files in our order, not by their number of tests.

    And let processes that tests start be interrupted also where this one was told to ignore that,
    as a shell without job control tells whatever it starts in the background.
    """
    # Labs start dozens of processes: without bytecode each compiles all of us and half the library.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if READY not in os.environ:  # workers have it from who started them
        made = tempfile.TemporaryDirectory(prefix="rollover-ready-")
        os.environ[READY] = made.name
        config.add_cleanup(made.cleanup)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, then what starts processes; else the order stays as it is."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.path.name in LONGEST:
        return LONGEST.index(item.path.name)
    return len(LONGEST) + (item.path.parent.name != "integration")


def _cpu_seconds() -> tuple[float, float]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime for one in used), sum(one.ru_stime for one in used)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker tell what it used."""
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told[CPU] = _cpu_seconds()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker used; one that crashed tells nothing."""
    told = getattr(node, "workeroutput", {}).get(CPU)
    if told is not None:
        _of_workers.append(tuple(told))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was used beside the wall clock: a busy machine changes that one alone."""
    # Children that nobody waited for are not in it: daemons that outlive who started them.
    used = _of_workers or [_cpu_seconds()]
    user, system = sum(one[0] for one in used), sum(one[1] for one in used)
    terminalreporter.write_line(
        f"CPU: {user:.0f} s user, {system:.0f} s system, {user + system:.0f} s in all"
        f" ({len(used)} {'process' if len(used) == 1 else 'processes'} and their children)"
    )
