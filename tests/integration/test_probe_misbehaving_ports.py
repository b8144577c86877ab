"""Ports that are dead, silent, rude or odd: each is told apart, and in time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from rigs.loopback_ports import free_port
from rigs.probe_lab import Authority
from rollover.errors import PemError
from rollover.probe.handshake import ClientVerdict, Failure, Handshake, probe, probe_all
from rollover.probe.identity import ClientIdentity
from rollover.probe.target import Port, Target

IDENTITY = ClientIdentity.from_pem(*Authority("root").issue("client"))
INFO_WITHOUT_TLS = b'INFO {"server_id":"N1","client_id":1}\r\n'
INFO_WITH_TLS = b'INFO {"server_id":"N1","tls_required":true}\r\n'

BUSY_SECONDS = 10.0
"""What is over at once, or with the timeout of a test, takes less than this on a busy machine."""


@contextmanager
def listening(behaviour: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port; each connection is given to `behaviour`, and closed in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(connection)
                thread = threading.Thread(target=behave, args=(connection,), daemon=True)
                threads.append(thread)
                thread.start()

        def behave(connection: socket.socket) -> None:
            try:
                behaviour(connection)
            except OSError:
                return  # the other side hung up, which is its right

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in accepted:
            connection.close()
        for thread in (accepting, *threads):
            thread.join(BUSY_SECONDS)


def silent(_connection: socket.socket) -> None:
    """Say nothing and stay."""


def says(
    data: bytes, *, after_hello: bool = False, hang_up: bool = False
) -> Callable[[socket.socket], None]:
    """Return a behaviour that sends `data`, perhaps once something came, and perhaps hangs up."""

    def behaviour(connection: socket.socket) -> None:
        if after_hello:
            connection.recv(65536)
        connection.sendall(data)
        if hang_up:
            connection.shutdown(socket.SHUT_RDWR)

    return behaviour


def look(address: str, port: Port, *, timeout_seconds: float = 300.0) -> Handshake:
    """Probe an address as a kind of port."""
    return probe(
        Target(address=address, port=port), identity=IDENTITY, timeout_seconds=timeout_seconds
    )


@pytest.mark.parametrize("port", list(Port))
def test_a_dead_port(port: Port) -> None:
    """A port where nobody listens is not reached, and the reason is given in words."""
    seen = look(f"127.0.0.1:{free_port()}", port)
    assert (seen.reached, seen.failure) == (False, Failure.REFUSED)
    assert seen.client_verdict is ClientVerdict.UNKNOWN
    assert seen.detail == "Connection refused"


def test_a_host_that_cannot_exist() -> None:
    """A host name that no resolver would take counts as nobody there."""
    seen = look(f"{'x' * 70}:4222", Port.CLIENT)
    assert (seen.reached, seen.failure) == (False, Failure.REFUSED)
    assert "is no host name" in seen.detail


@pytest.mark.parametrize("port", [Port.CLIENT, Port.ROUTE, Port.MQTT, Port.PLAIN])
def test_a_silent_port_costs_its_timeout_and_no_more(port: Port) -> None:
    """A port that accepts and never answers is given up when its time is over."""
    with listening(silent) as address:
        seen = look(address, port, timeout_seconds=0.3)
    assert (seen.reached, seen.failure) == (True, Failure.TIMEOUT)
    assert 0.3 <= seen.elapsed_seconds < BUSY_SECONDS


def test_a_port_that_drips_does_not_stretch_the_time() -> None:
    """The timeout is for the whole dial, not for each octet."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"INFO ")
        stop = threading.Event()
        while not stop.wait(0.05):
            connection.sendall(b" ")

    with listening(drip) as address:
        seen = look(address, Port.CLIENT, timeout_seconds=0.4)
    assert seen.failure is Failure.TIMEOUT
    assert seen.elapsed_seconds < BUSY_SECONDS


@pytest.mark.parametrize(
    ("port", "behaviour", "failure"),
    [
        pytest.param(Port.CLIENT, says(b"220 mail.example ESMTP\r\n"), "protocol", id="mail"),
        pytest.param(Port.CLIENT, says(b"INFO {broken\r\n"), "protocol", id="broken INFO"),
        pytest.param(Port.CLIENT, says(b"-ERR 'full'\r\n"), "protocol", id="error first"),
        pytest.param(Port.CLIENT, says(INFO_WITHOUT_TLS), "not-tls", id="client without TLS"),
        pytest.param(
            Port.CLIENT, says(INFO_WITH_TLS + b"PING\r\n"), "protocol", id="injected bytes"
        ),
        pytest.param(Port.CLIENT, says(b"INFO " + b"x" * 300_000), "protocol", id="endless INFO"),
        pytest.param(Port.CLIENT, says(b"", hang_up=True), "closed", id="hang-up"),
        pytest.param(Port.ROUTE, says(INFO_WITHOUT_TLS), "not-tls", id="route without TLS"),
        pytest.param(Port.PLAIN, says(b"HTTP/1.1 400\r\n", after_hello=True), "not-tls", id="http"),
        pytest.param(
            Port.PLAIN, says(b"", after_hello=True, hang_up=True), "closed", id="late hang-up"
        ),
        pytest.param(
            Port.PLAIN, says(b"\x16\x03\x03\x00\x04junk", after_hello=True), "protocol", id="junk"
        ),
        pytest.param(
            Port.PLAIN,
            says(b"\x15\x03\x03\x00\x02\x02\x70", after_hello=True),
            "protocol",
            id="unrecognized_name",
        ),
    ],
)
def test_ports_that_speak_something_else(
    port: Port, behaviour: Callable[[socket.socket], None], failure: str
) -> None:
    """Other protocols, damage and hang-ups each have their kind, at once and in words."""
    with listening(behaviour) as address:
        seen = look(address, port)
    assert (seen.reached, seen.failure) == (True, failure)
    assert seen.client_verdict is ClientVerdict.UNKNOWN
    assert seen.detail.isprintable()
    assert seen.detail
    assert seen.elapsed_seconds < BUSY_SECONDS


def test_an_alert_before_any_request_is_no_verdict() -> None:
    """`unknown_ca` from a peer that never asked for a certificate says nothing about ours."""
    with listening(says(b"\x15\x03\x03\x00\x02\x02\x30", after_hello=True)) as address:
        seen = look(address, Port.PLAIN)
    assert (seen.alert, seen.client_verdict) == ("unknown_ca", ClientVerdict.UNKNOWN)


def test_many_silent_ports_wait_together() -> None:
    """Dead endpoints share the waiting: the whole takes little longer than one timeout."""
    with listening(silent) as address:
        targets = [Target(address=address, port=Port.CLIENT)] * 40
        started = monotonic()
        seen = list(probe_all(targets, timeout_seconds=0.4, concurrency=40))
    assert [handshake.failure for handshake in seen] == [Failure.TIMEOUT] * 40
    assert monotonic() - started < BUSY_SECONDS


def test_results_come_in_the_order_of_the_targets() -> None:
    """A slow target delays its own answer and nobody else's dial, and keeps its place."""
    dead = f"127.0.0.1:{free_port()}"
    with listening(silent) as slow:
        targets = [Target(address=address, port=Port.CLIENT) for address in (slow, dead, slow)]
        seen = list(probe_all(targets, timeout_seconds=0.3))
    assert [handshake.address for handshake in seen] == [slow, dead, slow]
    assert [handshake.failure for handshake in seen] == ["timeout", "refused", "timeout"]


def test_an_identity_that_openssl_cannot_use_is_an_error_of_ours() -> None:
    """A mismatched pair is refused before anybody is dialled."""
    certificates = IDENTITY.certificates
    key = ClientIdentity.from_pem(*Authority("root").issue("other")).private_key
    with pytest.raises(PemError, match="cannot be used"):
        probe(
            Target(address="127.0.0.1:1", port=Port.PLAIN),
            identity=ClientIdentity(certificates, key),
            timeout_seconds=1,
        )
