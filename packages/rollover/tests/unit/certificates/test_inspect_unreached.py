"""A port that nobody listens on refuses a connection, not a handshake."""

from __future__ import annotations

from rigs.commands import run
from rigs.loopback_ports import free_port
from rollover.errors import ExitCode


def test_inspect_says_that_it_could_not_connect() -> None:
    """`connect`, and what to look at: host, port, and whether the server runs."""
    ran = run("inspect", f"nats://127.0.0.1:{free_port()}")
    assert ran.code == ExitCode.EVIDENCE_MISSING
    assert "connect: Connection refused" in ran.talk
    assert "handshake" not in ran.talk
