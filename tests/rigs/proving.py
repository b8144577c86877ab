"""Real nats-servers for the proofs of rules: started, knocked at, reloaded, and ended."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rigs import nats_oracle
from rigs.config_scenes import Desk, Tls
from rigs.loopback_ports import free_port
from rigs.patience import Patience
from rigs.pki_forge import Forged

SECONDS = 60.0
HOST = "127.0.0.1"


class Node:
    """A running nats-server."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def said(self, text: str) -> bool:
        """Say whether the log holds a text."""
        return text in self._log.read_text("utf-8", "replace")

    def reload(self) -> None:
        """Ask for a reload and wait until the server has answered in its log."""
        before = self._answers()
        self.process.send_signal(signal.SIGHUP)
        wait(lambda: self._answers() > before)

    def _answers(self) -> int:
        text = self._log.read_text("utf-8", "replace")
        return text.count("Reloaded server configuration") + text.count("Failed to reload")


def wait(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    patience = Patience(SECONDS)
    while not condition():
        assert patience.lasts()
        time.sleep(0.02)


@contextmanager
def running(
    config: Path, environment: Mapping[str, str] | None = None, *, flags: Sequence[str] = ()
) -> Iterator[Node]:
    """Run nats-server with a configuration and end it afterwards."""
    log = config.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [nats_oracle.binary(), "-c", str(config), *flags],
            cwd=config.parent,
            env={**os.environ, **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            node = Node(process, log)
            wait(lambda: node.said("Server is ready") or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield node
        finally:
            process.kill()
            process.wait()


def context(*, cert: Path | None = None) -> ssl.SSLContext:
    """Return a client that looks at nobody, and may present a certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    # In TLS 1.3 a client learns only later that it was refused.
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("ALL:@SECLEVEL=0")
    if cert is not None:
        made.load_cert_chain(cert, cert.with_suffix(".key"))
    return made


def reach(number: int) -> socket.socket:
    """Connect to a port, which opens a moment after the server says that it is ready."""
    patience = Patience(SECONDS)
    while True:
        try:
            return socket.create_connection((HOST, number), timeout=SECONDS)
        except ConnectionRefusedError:
            assert patience.lasts()
            time.sleep(0.02)


def knock(number: int, client: ssl.SSLContext) -> str:
    """Return why a port that speaks TLS at once refuses a client; empty when it lets it in."""
    with reach(number) as plain:
        try:
            client.wrap_socket(plain, server_hostname="localhost").close()
        except (ssl.SSLError, OSError) as error:
            return str(error)
    return ""


def let_in(desk: Desk, presenter: str, number: int) -> bool:
    """Say whether a port lets in who presents the files of a block, `n2-cluster`."""
    return not knock(number, context(cert=desk.folder / f"{presenter}.pem"))


def pair(desk: Desk, own: Tls, other: Tls) -> tuple[Path, int]:
    """Write two nodes of which the second one dials the first; return that one and its port."""
    number = free_port()
    first = desk.server(
        "n1",
        more=f"listen: '{HOST}:-1'",
        inside={"cluster": f"name: c\n  listen: '{HOST}:{number}'"},
        cluster=own,
    )
    desk.server(
        "n2",
        more=f"listen: '{HOST}:-1'",
        inside={
            "cluster": f"name: c\n  listen: '{HOST}:-1'\n  routes: ['nats-route://{HOST}:{number}']"
        },
        cluster=other,
    )
    return first, number


def plain(desk: Desk, *, by: Forged | None = None, subject: str = "n1") -> Tls:
    """Return a block as it should be, below the desk's root or another CA."""
    return Tls((desk.leaf(HOST, "localhost", by=by, subject=subject),), (by or desk.root,))


def websocket(desk: Desk, block: Tls, *more: str) -> tuple[Path, int]:
    """Write a server with a WebSocket port, which speaks TLS at once."""
    number = free_port()
    config = desk.server(
        more=f"listen: '{HOST}:-1'",
        inside={"websocket": "\n  ".join((f"listen: '{HOST}:{number}'", *more))},
        websocket=block,
    )
    return config, number


def client_port(
    desk: Desk, number: int, *, cert: str = "", connect: str = '{"verbose":false}'
) -> str:
    """Return what a client is told after CONNECT and PING: `PONG`, or why it is refused."""
    stream = reach(number)
    try:
        stream.recv(4096)
        if cert:
            stream = context(cert=desk.folder / f"{cert}.pem").wrap_socket(stream)
        stream.sendall(f"CONNECT {connect}\r\nPING\r\n".encode())
        told = b""
        with suppress(OSError):
            while b"PONG" not in told and (more := stream.recv(4096)):
                told += more
    finally:
        stream.close()
    return told.decode()
