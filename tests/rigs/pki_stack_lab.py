"""Asks real TLS stacks for their verdict: nats-server over loopback, OpenSSL in memory."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from cryptography import x509
from OpenSSL import SSL

from rigs.patience import Patience
from rigs.pki_forge import Forged
from rollover.fleet.certificate import Certificate
from rollover.pki.pem import write_certificates

PATIENCE_SECONDS = 60.0
"""How long a busy machine may take for any one thing here."""

PRESENT_ANYTHING = "ALL:@SECLEVEL=0"
"""The presenting side must not refuse to show what the other side is to judge."""

NATS_SERVER = str(Path(sys.executable).with_name("nats-server"))


_T = TypeVar("_T")


class Presented(NamedTuple):
    """A chain in files, as `ssl` and nats-server want it."""

    certificate_file: Path
    key_file: Path


def write_chain(chain: Sequence[Forged], *, folder: Path) -> Presented:
    """Write a chain and its key into a new folder."""
    folder.mkdir()
    found = Presented(folder / "chain.pem", folder / "key.pem")
    found.certificate_file.write_bytes(write_certificates(one.certificate for one in chain))
    found.key_file.touch(mode=0o600)
    found.key_file.write_bytes(chain[0].key_pem())
    return found


def presenting(context: ssl.SSLContext, chain: Presented) -> ssl.SSLContext:
    """Return the context, set to present a chain however weak."""
    context.set_ciphers(PRESENT_ANYTHING)
    context.load_cert_chain(chain.certificate_file, chain.key_file)
    return context


class NatsServer:
    """A nats-server on a configuration that may change; ended with its context."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self._folder = folder
        (folder / "nats.conf").write_text(
            f'ports_file_dir: "{folder}"\nlog_file: "{folder / "nats.log"}"\n'
            f'host: "127.0.0.1"\nport: -1\nhttp: "127.0.0.1:-1"\n{configuration}'
        )

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([NATS_SERVER, "-c", str(self._folder / "nats.conf")])
        try:
            ports = await_value(self._ports)
        except BaseException:
            self.__exit__()
            raise
        self.client_port = _port(ports["nats"][0])
        self._monitor = ports["monitoring"][0]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_SECONDS)

    def reload(self) -> None:
        """Reload the configuration and wait until the server says that it has."""
        before = self._load_time()
        self._process.send_signal(signal.SIGHUP)
        await_value(lambda: self._load_time() != before or None)

    def _ports(self) -> dict[str, list[str]] | None:
        found = list(self._folder.glob("*.ports"))
        if not found or not found[0].stat().st_size:
            return None
        ports: dict[str, list[str]] = json.loads(found[0].read_text())
        return ports

    def _load_time(self) -> str:
        with urllib.request.urlopen(f"{self._monitor}/varz", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own loopback server
            return str(json.load(answer)["config_load_time"])


def nats_accepts_client(server: NatsServer, context: ssl.SSLContext) -> bool:
    """Return whether the client port takes the certificate that the context presents."""
    address = ("127.0.0.1", server.client_port)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as plain:
        while not plain.recv(4096).endswith(b"\r\n"):
            pass
        try:
            with context.wrap_socket(plain) as secure:
                secure.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
                return b"PONG" in _read_until(secure, b"PONG")
        except (ssl.SSLError, ConnectionError):
            return False


def advertised_by(server: NatsServer) -> list[str]:
    """Return the common names of the CAs that the client port advertises, in its order."""
    address = ("127.0.0.1", server.client_port)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as plain:
        while not plain.recv(4096).endswith(b"\r\n"):
            pass
        plain.settimeout(None)
        secure = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
        secure.set_connect_state()
        secure.do_handshake()
        return [str(name.CN) for name in secure.get_client_ca_list()]


def openssl_loads(bundle: Path) -> bool:
    """Return whether OpenSSL takes the file as a bundle."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except ssl.SSLError:
        return False
    return True


@contextlib.contextmanager
def listeners(count: int) -> Iterator[list[socket.socket]]:
    """Give listening sockets on free ports of the loopback."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def answer_all(jobs: Sequence[Callable[[], bool]]) -> list[bool]:
    """Run the listeners' jobs side by side and return what each saw."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [
            future.result(timeout=PATIENCE_SECONDS) for future in [pool.submit(job) for job in jobs]
        ]


def dialler_accepts(listener: socket.socket, context: ssl.SSLContext) -> bool:
    """Return whether whoever dials the listener completes the handshake; an alert says no."""
    listener.settimeout(PATIENCE_SECONDS)
    patience = Patience(PATIENCE_SECONDS)
    while patience.lasts():
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE_SECONDS)
        try:
            with context.wrap_socket(connection, server_side=True):
                return True
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                return False
        except OSError:
            continue  # it gave up while other handshakes kept this machine busy, and dials again
    raise TimeoutError("nobody completed or refused a handshake")


def dialler_offers(
    listener: socket.socket, chain: Presented, advertised: Sequence[Certificate]
) -> bool:
    """Return whether whoever dials sends a certificate to an acceptor of these authorities."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(chain.certificate_file))
    context.use_privatekey_file(str(chain.key_file))
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    for one in advertised:
        context.add_client_ca(x509.load_der_x509_certificate(one.der))
    listener.settimeout(PATIENCE_SECONDS)
    connection, _ = listener.accept()
    connection.settimeout(None)
    secure = SSL.Connection(context, connection)
    secure.set_accept_state()
    try:
        secure.do_handshake()
        return secure.get_peer_certificate() is not None
    finally:
        connection.close()


def openssl_accepts(
    verifying: ssl.SSLContext, presenter: ssl.SSLContext, *, host: str | None
) -> bool:
    """Return whether OpenSSL completes a handshake in memory; the dialer verifies if `host` is."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialer, acceptor = (presenter, verifying) if host is None else (verifying, presenter)
    client = dialer.wrap_bio(to_client, to_server, server_hostname=host)
    server = acceptor.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return not waiting


def bundle_text(bundle: Sequence[Certificate]) -> str:
    """Return the bundle as PEM text."""
    return write_certificates(bundle).decode("ascii")


def await_value(probe: Callable[[], _T | None]) -> _T:
    """Return the first true value of the probe."""
    patience = Patience(PATIENCE_SECONDS)
    while patience.lasts():
        found = probe()
        if found:
            return found
        time.sleep(0.005)
    raise TimeoutError("the condition did not come about")


def _read_until(connection: ssl.SSLSocket, wanted: bytes) -> bytes:
    received = b""
    while wanted not in received:
        more = connection.recv(4096)
        if not more:
            break
        received += more
    return received


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
