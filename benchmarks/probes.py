"""Probes per second against one nats-server, beside bare handshakes of the standard library.

Run: `python benchmarks/probes.py [COUNT]`. Both sides speak INFO, then mutual TLS, then CONNECT and
PING until PONG, to the same server in the same run, with the same certificates and threads.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from rollover.probe.handshake import ClientVerdict, probe_all
from rollover.probe.identity import ClientIdentity
from rollover.probe.target import Port, Target

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

COUNT = 200
ROUNDS = 5
CONCURRENCIES = (1, 8, 64)
TIMEOUT_SECONDS = 10.0
KEYS: dict[str, Callable[[], Key]] = {
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
}


def certificate(key: Key, issuer: Key, *, name: str, by: str) -> bytes:
    """Return a certificate for loopback as PEM; `name` equal to `by` makes a CA."""
    now = datetime.now(UTC)
    subject, parent = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, by)
    )
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    return (
        x509.CertificateBuilder(parent, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == by, path_length=None), critical=True)
        .add_extension(alternative, critical=False)
        .sign(issuer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def write_material(folder: Path, make: Callable[[], Key]) -> None:
    """Write CA, server pair and client pair as PEM files into a private folder."""
    authority = make()
    (folder / "ca.pem").write_bytes(certificate(authority, authority, name="ca", by="ca"))
    for name in ("server", "client"):
        key = make()
        (folder / f"{name}.pem").write_bytes(certificate(key, authority, name=name, by="ca"))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """Run a nats-server with mutual TLS on a free port and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "server.conf").write_text(
        f'listen: "{address}"\n'
        f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", '
        f'ca_file: "{folder}/ca.pem", verify: true, timeout: 10 }}\n'
    )
    binary = Path(sys.executable).parent / "nats-server"
    process = subprocess.Popen([binary, "-c", folder / "server.conf"], stderr=subprocess.DEVNULL)
    try:
        await_port(address)
        yield address
    finally:
        process.kill()
        process.wait()


def await_port(address: str) -> None:
    """Wait until somebody listens there."""
    host, _, port = address.partition(":")
    deadline = monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            assert monotonic() < deadline, "nats-server does not start"
            sleep(0.02)
        else:
            return


def bare_handshake(address: str, context: ssl.SSLContext) -> None:
    """Do what a probe does and nothing more, with the standard library."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as plain:
        assert plain.recv(65536).startswith(b"INFO ")
        with context.wrap_socket(plain) as tls:
            tls.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
            assert tls.recv(65536).startswith(b"PONG")


class Speed(NamedTuple):
    """How fast a loop went, and what it cost this process."""

    per_second: float
    cpu_milliseconds: float


@contextmanager
def timed(count: int, speeds: list[Speed]) -> Iterator[None]:
    """Time a loop of `count` handshakes."""
    wall, cpu = monotonic(), process_time()
    yield
    speeds.append(Speed(count / (monotonic() - wall), (process_time() - cpu) / count * 1000))


def client_context(folder: Path) -> ssl.SSLContext:
    """Return a context of the standard library that takes any server and presents our pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


def bare_loop(address: str, context: ssl.SSLContext, concurrency: int, count: int) -> None:
    """Do bare handshakes with a pool of threads."""
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(lambda _: bare_handshake(address, context), range(count)))


def probe_loop(address: str, identity: ClientIdentity, concurrency: int, count: int) -> None:
    """Probe; every handshake must have been accepted."""
    targets = [Target(address=address, port=Port.CLIENT)] * count
    seen = probe_all(
        targets, identity=identity, timeout_seconds=TIMEOUT_SECONDS, concurrency=concurrency
    )
    refused = [
        handshake for handshake in seen if handshake.client_verdict is not ClientVerdict.ACCEPTED
    ]
    assert not refused, refused[0]


def measure(make: Callable[[], Key], count: int) -> Iterator[tuple[int, Speed, Speed]]:
    """Yield for each concurrency the medians of bare handshakes and of probes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_material(folder, make)
        pair = ((folder / f"client.{kind}").read_bytes() for kind in ("pem", "key"))
        identity, context = ClientIdentity.from_pem(*pair), client_context(folder)
        with nats_server(folder) as address:
            for concurrency in CONCURRENCIES:
                bare: list[Speed] = []
                ours: list[Speed] = []
                # In turns, so that other work on the machine disturbs both alike.
                for _ in range(ROUNDS):
                    with timed(count, bare):
                        bare_loop(address, context, concurrency, count)
                    with timed(count, ours):
                        probe_loop(address, identity, concurrency, count)
                yield concurrency, medians(bare), medians(ours)


def medians(speeds: list[Speed]) -> Speed:
    """Return the median of each figure."""
    return Speed(*(statistics.median(figures) for figures in zip(*speeds, strict=True)))


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    print(f"{count} mutual-TLS probes of one nats-server, median of {ROUNDS} rounds")
    print(f"{'':19}{'bare ssl':>20}{'probe':>20}")
    print(f"{'key':10}{'threads':>9}" + f"{'per s':>10}{'CPU ms':>10}" * 2 + f"{'rate':>8}")
    for name, make in KEYS.items():
        for concurrency, bare, ours in measure(make, count):
            figures = "".join(
                f"{pair.per_second:10.0f}{pair.cpu_milliseconds:10.2f}" for pair in (bare, ours)
            )
            print(f"{name:10}{concurrency:9}{figures}{ours.per_second / bare.per_second:8.2f}")


if __name__ == "__main__":
    main()
