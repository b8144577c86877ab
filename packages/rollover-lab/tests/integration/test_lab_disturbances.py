"""What can be done to a lab while its clients go on sending."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from rigs.patience import Patience
from rollover.errors import NotFound, Rejected, SpecError
from rollover_lab.nats import lab, naive_swap
from rollover_lab.nats.lab import Lab
from rollover_lab.nats.naive_swap import broken_links
from rollover_lab.nats.spec import preset_named
from rollover_lab.state import ProcessState

PATIENCE_SECONDS = 60.0
TRAFFIC_SECONDS = 2.0
ALONE = msgspec.structs.replace(preset_named("single"), clients=0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Lab]:
    """Yield the demo fleet."""
    with lab.running(preset_named("cluster"), tmp_path / "lab") as fleet:
        yield fleet


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[Lab]:
    """Yield a single server that nobody uses."""
    with lab.running(ALONE, tmp_path / "lab") as fleet:
        yield fleet


def _await(condition: Callable[[], bool]) -> None:
    patience = Patience(PATIENCE_SECONDS)
    while not condition():
        assert patience.lasts()
        time.sleep(0.05)


def test_the_demo_fleet_loses_nothing_by_itself(cluster: Lab) -> None:
    """Three servers and 20 clients: every link works, and over two seconds no message is lost."""
    assert broken_links(cluster.description) == ()
    before = cluster.traffic()
    _await(lambda: (cluster.traffic().at - before.at).total_seconds() >= TRAFFIC_SECONDS)
    cluster.down()
    report = cluster.traffic()
    assert report.final
    assert len(report.clients) == 20
    assert report.received > before.received > 0
    assert (report.lost, report.failures, report.disconnects) == (0, 0, 0)


def test_a_server_can_be_killed_and_comes_back(cluster: Lab) -> None:
    """Started again it works with those that run; with all of them, every client is connected."""
    cluster.stop_server("n2", kill=True)
    cluster.stop_server("n3")
    stopped = {process.name: process for process in cluster.status().processes}
    assert (stopped["n2"].state, stopped["n2"].exit_code) == (ProcessState.STOPPED, -signal.SIGKILL)
    assert (stopped["n3"].state, stopped["n3"].exit_code) == (ProcessState.STOPPED, 0)
    cluster.start_server("n2")
    assert {link.acceptor for link in broken_links(cluster.description)} == {
        "n3/route",
        "n3/client-port",
    }
    cluster.start_server("n3")
    assert broken_links(cluster.description) == ()
    _await(lambda: [client.connected for client in cluster.traffic().clients] == [True] * 20)


def test_a_crash_is_reported_and_not_mended(bystander: Lab) -> None:
    """A server that ends by itself stays down, with its exit code and last words on record."""
    pid = int(bystander.layout.pid_file("n1").read_text())
    os.kill(pid, signal.SIGKILL)
    _await(lambda: bystander.status().processes[0].state is ProcessState.CRASHED)
    crashed = bystander.status().processes[0]
    assert crashed.exit_code == -signal.SIGKILL
    assert any("Server is ready" in line for line in crashed.last_lines)
    bystander.start_server("n1")
    assert bystander.status().processes[0].state is ProcessState.RUNNING


def test_a_server_that_does_not_come_back_says_why(bystander: Lab) -> None:
    """Starting a server whose certificate is damaged is an error with its log."""
    bystander.stop_server("n1")
    bystander.layout.client_port("n1").certificate.write_text("no certificate")
    with pytest.raises(Rejected, match="failed to find any PEM data"):
        bystander.start_server("n1")


def test_a_read_only_server_refuses_new_certificates(tmp_path: Path) -> None:
    """Its directory takes no file until it is made writable again, also by `down`."""
    spec = msgspec.structs.replace(ALONE, clients=1)
    with lab.running(spec, tmp_path / "lab") as fleet:
        certificate = fleet.layout.client_port("n1").certificate
        try:
            fleet.make_read_only("n1")
        except Rejected as refused:
            pytest.skip(f"not here: {refused}")
        for path in (certificate, certificate.with_suffix(".new")):
            with pytest.raises(PermissionError):
                path.write_bytes(b"")
        assert broken_links(fleet.description) == ()
        fleet.make_writable("n1")
        certificate.with_suffix(".new").write_bytes(b"")
        fleet.make_read_only("n1")
        fleet.make_read_only("publisher-1")
    certificate.unlink()
    fleet.layout.client_material("publisher-1").key.unlink()


def test_a_naive_swap_cuts_the_fleet_apart(cluster: Lab) -> None:
    """New-only certificates, one after the other: every reload succeeds, every link breaks."""
    authority = naive_swap.new_lab_authority(cluster, now=datetime.now(UTC))
    seen: list[naive_swap.NaiveStep] = []
    report = naive_swap.naive_swap(cluster, authority, observe_seconds=1.0, on_step=seen.append)

    assert tuple(seen) == report.steps
    assert [step.instance for step in report.steps] == ["n1", "n2", "n3", "clients"]
    first, _, last_server, clients = report.steps
    # The reload of n1 has cut nothing, and yet nobody could dial it any more.
    assert (first.reloaded.missing_routes, first.reloaded.disconnects) == ((), 0)
    links = {(link.dialer, link.acceptor) for link in first.reloaded.broken}
    assert {("n1/route", "n2/route"), ("publisher-1/client", "n1/client-port")} <= links
    # Once connections are made anew, n1 stands alone; at the end every client is cut off.
    assert {"n1 → n2", "n2 → n1", "n1 → n3", "n3 → n1"} == set(first.reconnected.missing_routes)
    assert len(last_server.reconnected.disconnected) == 20
    assert len(report.broken) == 3 * 2 + 20 * 3
    assert clients.reloaded.broken == ()
    assert report.disconnects >= 20


def test_what_cannot_be_done_to_a_lab_is_refused(bystander: Lab) -> None:
    """A misspelt name is an error that names the servers; a naive swap needs clients to show it."""
    with pytest.raises(NotFound, match="no instance `n9`") as refused:
        bystander.stop_server("n9")
    assert "n1" in refused.value.hint
    authority = naive_swap.new_lab_authority(bystander, now=datetime.now(UTC))
    with pytest.raises(SpecError, match="no clients"):
        naive_swap.naive_swap(bystander, authority)
