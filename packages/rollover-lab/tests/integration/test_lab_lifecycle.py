"""A lab comes up with everything in it, and goes down with everything in it, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rigs.patience import Patience
from rollover.errors import Rejected, SpecError, StaleError, Unreachable
from rollover.fleet.certificate import Flags, KeyKind
from rollover.fleet.description import FleetDescription
from rollover.pki import keys, pem
from rollover.pki.issue import check_issuer
from rollover.store.credentials import open_credentials
from rollover.store.sealing import keys_from_file
from rollover_lab import children, state
from rollover_lab.machine import FindPorts, free_ports
from rollover_lab.nats import lab
from rollover_lab.nats.lab import LabStatus
from rollover_lab.nats.layout import NatsLayout
from rollover_lab.nats.naive_swap import broken_links
from rollover_lab.nats.readiness import PortTaken
from rollover_lab.nats.spec import CertificateSpec, ClusterSpec, LabSpec, preset_named
from rollover_lab.state import ProcessState

SINGLE = preset_named("single")
BARE = LabSpec(name="bare", clusters=(ClusterSpec(servers=1, jetstream=False),), clients=0)
PATIENCE_SECONDS = 60.0
HOLDER = """
import sys
from pathlib import Path
from rollover_lab.nats import lab
from rollover_lab.nats.spec import preset_named
with lab.running(preset_named("single"), Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


def _processes_of(directory: Path) -> list[int]:
    """Return the processes that name the directory in their command line."""
    wanted = os.fsencode(directory)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted in line:
                found.append(int(entry.name))
    return found


def _await(condition: Callable[[], bool]) -> None:
    patience = Patience(PATIENCE_SECONDS)
    while not condition():
        assert patience.lasts()
        time.sleep(0.02)


def _states(status: LabStatus) -> set[ProcessState]:
    return {process.state for process in status.processes}


def _ports(described: FleetDescription) -> list[int]:
    servers = described.groups[0].instances
    addresses = [end.address for server in servers for end in server.endpoints]
    addresses += [server.monitor for server in servers]
    return [int(address.rpartition(":")[2]) for address in addresses if address]


def _can_listen(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_lab_leaves_neither_process_nor_port_behind(tmp_path: Path) -> None:
    """The preset comes up with server, clients and supervisor; afterwards nothing is left."""
    with lab.running(SINGLE, tmp_path / "lab") as fleet:
        assert len(_processes_of(tmp_path)) == 3
        assert not any(_can_listen(port) for port in _ports(fleet.description))
        states = {process.name: process.state for process in fleet.status().processes}
        assert states == {"n1": ProcessState.RUNNING, "traffic": ProcessState.RUNNING}
    assert _processes_of(tmp_path) == []
    assert all(_can_listen(port) for port in _ports(fleet.description))
    assert fleet.traffic().final
    assert fleet.traffic().lost == 0


def test_everything_in_the_directory_is_private(tmp_path: Path) -> None:
    """Directories are 0700; keys, configuration and passwords can be read by their owner alone."""
    with lab.running(SINGLE, tmp_path / "lab"):
        paths = [tmp_path / "lab", *(tmp_path / "lab").rglob("*")]
        kept = [p for p in paths if not p.is_relative_to(tmp_path / "lab" / "n1" / "jetstream")]
        own = {p: p.stat().st_mode & 0o077 for p in kept if not p.is_socket()}
        said = {"status.json", "n1.log", "n1.out", "n1.pid", "traffic.log", "traffic-report.json"}
        assert {p.name for p, others in own.items() if others and p.name not in said} == set()


def test_killing_the_supervisor_ends_the_lab(tmp_path: Path) -> None:
    """SIGKILL to the supervisor, which can do nothing about it, leaves no process."""
    with lab.running(SINGLE, tmp_path / "lab") as fleet:
        supervisor = state.read(fleet.layout.lab.state).supervisor
        assert supervisor is not None
        assert children.send_signal(supervisor, signal.SIGKILL)
        _await(lambda: not [pid for pid in _processes_of(tmp_path) if pid != supervisor.pid])
        # A process that is being killed has no command line any more a little before it has ended.
        _await(lambda: not fleet.status().up)
        _await(lambda: _states(fleet.status()) == {ProcessState.STOPPED})
        with pytest.raises(Unreachable, match="no supervisor answers"):
            fleet.stop_server("n1")


def test_killing_the_process_that_started_it_ends_the_lab(tmp_path: Path) -> None:
    """SIGKILL to whoever holds the lab ends its supervisor, servers and clients."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "lab"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        assert len(_processes_of(tmp_path)) == 4
        holder.kill()
    _await(lambda: _processes_of(tmp_path) == [])


def test_a_detached_lab_runs_until_it_is_taken_down(tmp_path: Path) -> None:
    """Another process finds it, changes it, ends it by its recorded ids, and removes it."""
    directory = tmp_path / "lab"
    script = HOLDER.replace(
        'with lab.running(preset_named("single"), Path(sys.argv[1])):', "if True:"
    )
    script = script.replace(
        'print("up", flush=True)', 'lab.up(preset_named("single"), Path(sys.argv[1]), detach=True)'
    )
    subprocess.run(
        [sys.executable, "-c", script, directory],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=1200,
    )
    fleet = lab.attach(directory)
    fleet.restart_server("n1")
    assert broken_links(fleet.description) == ()
    assert len(lab.down(directory, remove=True)) == 3
    assert _processes_of(tmp_path) == []
    assert not directory.exists()


def test_down_touches_nothing_the_second_time(tmp_path: Path) -> None:
    """Taking a lab down twice is harmless, and says that there was nothing to end."""
    fleet = lab.up(BARE, tmp_path / "lab")
    assert len(lab.down(tmp_path / "lab")) == 2
    assert lab.down(tmp_path / "lab") == ()
    fleet.down()
    with pytest.raises(Unreachable, match="has ended"):
        lab.attach(tmp_path / "lab")


def test_down_spares_a_process_that_only_has_the_number(tmp_path: Path) -> None:
    """A recorded number that now belongs to another process is left alone."""
    with lab.running(BARE, tmp_path / "lab") as fleet:
        pass
    known = state.read(fleet.layout.lab.state)
    with subprocess.Popen(["sleep", "600"]) as bystander:  # noqa: S607 - coreutils
        reused = children.ProcessId(pid=bystander.pid, started=1)
        state.write(fleet.layout.lab.state, msgspec.structs.replace(known, supervisor=reused))
        assert lab.down(tmp_path / "lab") == ()
        assert bystander.poll() is None
        bystander.kill()


def test_a_directory_holds_one_lab(tmp_path: Path) -> None:
    """A directory in use, one of a lab that has ended, and one with other things are refused."""
    directory = tmp_path / "lab"
    with lab.running(BARE, directory):
        with pytest.raises(StaleError, match="a lab runs in"):
            lab.up(BARE, directory)
        assert lab.status(directory).up
    with pytest.raises(SpecError, match="a lab that has ended"):
        lab.up(BARE, directory)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match=r"it holds `notes\.txt`"):
        lab.up(BARE, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_where_there_is_no_lab_the_error_says_so(tmp_path: Path) -> None:
    """Status, down and attach of a directory without a lab name it and how to start one."""
    for call in (lab.status, lab.down, lab.attach):
        with pytest.raises(SpecError, match="there is no lab in") as refused:
            call(tmp_path)
        assert "rollover lab up" in refused.value.hint


def _first_taken(port: int) -> FindPorts:
    """Return a search that offers a taken port the first time."""
    offers = [port]

    def find(count: int) -> tuple[int, ...]:
        taken = tuple(offers)
        offers.clear()
        return (*taken, *free_ports(count - len(taken)))

    return find


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """When another process was faster, the lab starts on other ports."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        find = _first_taken(port)
        with lab.running(BARE, tmp_path / "lab", find_ports=find) as fleet:
            assert port not in _ports(fleet.description)
            assert broken_links(fleet.description) == ()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The error holds the end of the server's log; nothing runs afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match="address already in use") as refused:
            lab.up(BARE, tmp_path / "lab", find_ports=lambda _: (port, *free_ports(2)))
    assert refused.value.hint == f"the whole log is `{tmp_path}/lab/n1/n1.log`"
    assert _processes_of(tmp_path) == []


def test_a_program_that_is_no_nats_server_says_what_it_said(tmp_path: Path) -> None:
    """What the named binary prints before it ends is in the error."""
    binary = tmp_path / "not-nats"
    binary.write_text("#!/bin/sh\necho what is $1 >&2\nexit 7\n")
    binary.chmod(0o755)
    spec = msgspec.structs.replace(BARE, binary=str(binary))
    with pytest.raises(Rejected, match=r"ended with code 7; its last words:\n  what is -c"):
        lab.up(spec, tmp_path / "lab")
    assert not lab.status(tmp_path / "lab").up


def test_a_standby_authority_is_trusted_from_the_start(tmp_path: Path) -> None:
    """Every party trusts both CAs; the store holds their keys, the first signing."""
    spec = msgspec.structs.replace(BARE, clients=1, standby=True)
    with lab.running(spec, tmp_path / "lab") as fleet:
        layout = fleet.layout
        trusted = layout.client_port("n1").ca.read_bytes()
        assert trusted == layout.client_material("publisher-1").ca.read_bytes()
        first, second = pem.read_certificates(trusted).certificates
        assert [first.subject, second.subject] == ["CN=Demo NATS CA 1", "CN=Demo NATS CA 2"]
        sealing = keys_from_file(layout.sealing_key)
        with open_credentials(layout.credentials, keys=sealing) as store:
            newest, oldest = store.versions("/authorities/nats-ca")
            assert newest.flags == Flags(transitional=True, self_signed=True)
            assert oldest.flags == Flags(signing=True, self_signed=True)
            assert (oldest.fingerprint, newest.fingerprint) == (
                first.fingerprint,
                second.fingerprint,
            )
            key = keys.from_pem(store.private_key("/authorities/nats-ca", 1).reveal())
            check_issuer(first, key)
        assert fleet.description.authorities[0].certificates == (
            first.fingerprint,
            second.fingerprint,
        )


def test_a_lab_with_everything_changed_works(tmp_path: Path) -> None:
    """RSA, a file of its own for each port, plain clients, no monitoring, no system account."""
    spec = LabSpec(
        name="odd",
        clusters=(ClusterSpec(name="pair", servers=2),),
        clients=6,
        certificates=CertificateSpec(
            authority_key=KeyKind.ED25519,
            leaf_key=KeyKind.RSA_2048,
            separate_files=True,
            authority_days=2.0,
        ),
        system_account=False,
        monitoring=False,
        rotating_clients=False,
    )
    with lab.running(spec, tmp_path / "lab") as fleet:
        assert broken_links(fleet.description) == ()
        tls = NatsLayout(tmp_path / "lab").tls("n1")
        (leaf,) = pem.read_certificates((tls / "route.crt").read_bytes()).certificates
        assert leaf.names == ("localhost", "127.0.0.1", "::1")
        assert leaf.subject == "CN=n1"
        assert set(leaf.extended_key_usages or ()) == {"server_auth", "client_auth"}
        assert (leaf.not_after - leaf.not_before).days <= 2
        assert (tls / "route.crt").read_bytes() != (tls / "server.crt").read_bytes()
