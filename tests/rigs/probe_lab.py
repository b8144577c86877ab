"""One real nats-server with mutual TLS on every listener, and the certificates to dial it with."""

from __future__ import annotations

import datetime as dt
import ipaddress
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rigs.loopback_ports import free_port
from rigs.patience import Patience
from rollover.probe.target import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NATS_SERVER = Path(sys.executable).parent / "nats-server"
START_SECONDS = 60.0
SYSTEM_USER, SYSTEM_PASSWORD = "system", "throw-away"
READY = "Server is ready"
RELOADED = "Reloaded server configuration"


class Pair(NamedTuple):
    """A chain and its private key, as PEM."""

    chain: bytes
    key: bytes


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Authority:
    """A throw-away certificate authority."""

    def __init__(self, common_name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.subject = _name(common_name)
        builder = self._builder(self.subject, self._key.public_key(), valid_days=10)
        self.certificate = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self._key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, valid_days: float
    ) -> x509.CertificateBuilder:
        end = dt.datetime.now(dt.UTC) + dt.timedelta(days=valid_days)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - dt.timedelta(days=20))
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )

    def issue(self, common_name: str, *, valid_days: float = 5, with_root: bool = False) -> Pair:
        """Return a leaf for loopback, good as a server and as a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = (
            self._builder(_name(common_name), key.public_key(), valid_days=valid_days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM)
        return Pair(chain + (self.pem if with_root else b""), _pem(key))


class Running(NamedTuple):
    """A nats-server that runs, and where its listeners are."""

    process: subprocess.Popen[bytes]
    folder: Path
    ports: dict[Port, int]
    plain_monitoring: int

    def address(self, port: Port) -> str:
        """Return `host:port` of a listener."""
        return f"127.0.0.1:{self.ports[port]}"

    def reload(self) -> None:
        """Make it read its files again, and wait until it says that it has."""
        log = self.folder / "server.log"
        before = log.read_text(errors="replace").count(RELOADED)
        self.process.send_signal(signal.SIGHUP)
        await_that(lambda: log.read_text(errors="replace").count(RELOADED) > before, log)


def write_material(folder: Path, *, server: Pair, trusted: bytes) -> None:
    """Put the server's PEM files where its configuration names them."""
    for name, content in (("cert", server.chain), ("key", server.key), ("ca", trusted)):
        (folder / f"{name}.pem").write_bytes(content)


def configuration(
    folder: Path,
    ports: dict[Port, int],
    plain_monitoring: int,
    *,
    verify: bool = True,
    tls_extra: str = "",
    client_extra: str = "",
    users: str = "{ user: app, password: app }",
) -> str:
    """Return a configuration with TLS on every listener of `ports`."""
    files = f'cert_file: "{folder}/cert.pem", key_file: "{folder}/key.pem"'
    common = f'{files}, ca_file: "{folder}/ca.pem", verify: {str(verify).lower()}, timeout: 5'
    tls = f"tls {{ {common}, {tls_extra} }}"
    client_tls = f"tls {{ {common}, {tls_extra} {client_extra} }}"
    monitoring = (
        f'https: "127.0.0.1:{ports[Port.MONITORING]}"'
        if Port.MONITORING in ports
        else f'http: "127.0.0.1:{plain_monitoring}"'
    )
    blocks = {
        Port.CLIENT: f'listen: "127.0.0.1:{ports[Port.CLIENT]}"\n{client_tls}',
        # JetStream in a cluster wants a route; nobody listens at this one.
        Port.ROUTE: (
            f'cluster {{ name: c1, listen: "127.0.0.1:{ports.get(Port.ROUTE)}", {tls}, '
            f'routes: ["nats://127.0.0.1:{free_port()}"] }}'
        ),
        Port.GATEWAY: (
            f'gateway {{ name: c1, listen: "127.0.0.1:{ports.get(Port.GATEWAY)}", {tls} }}'
        ),
        Port.LEAFNODE: (
            f'leafnodes {{ listen: "127.0.0.1:{ports.get(Port.LEAFNODE)}", {client_tls} }}'
        ),
        Port.WEBSOCKET: (f'websocket {{ listen: "127.0.0.1:{ports.get(Port.WEBSOCKET)}", {tls} }}'),
        Port.MQTT: f'mqtt {{ listen: "127.0.0.1:{ports.get(Port.MQTT)}", {tls} }}',
    }
    listeners = "\n".join(text for port, text in blocks.items() if port in ports)
    return f"""
server_name: probed
{monitoring}
{listeners}
jetstream {{ store_dir: "{folder}/js" }}
accounts {{
  SYS {{ users: [ {{ user: {SYSTEM_USER}, password: {SYSTEM_PASSWORD} }} ] }}
  APP {{ jetstream: enabled, users: [ {users} ] }}
}}
system_account: SYS
"""


ALL_PORTS = (
    Port.CLIENT,
    Port.ROUTE,
    Port.GATEWAY,
    Port.LEAFNODE,
    Port.WEBSOCKET,
    Port.MQTT,
    Port.MONITORING,
)


@contextmanager
def server(
    folder: Path,
    *,
    wanted: tuple[Port, ...] = ALL_PORTS,
    text: str | None = None,
    verify: bool = True,
    tls_extra: str = "",
    client_extra: str = "",
) -> Iterator[Running]:
    """Run a nats-server on free ports until the block ends; the PEM files must be in `folder`."""
    ports = {port: free_port() for port in wanted}
    plain = free_port()
    content = (
        text
        if text is not None
        else configuration(
            folder, ports, plain, verify=verify, tls_extra=tls_extra, client_extra=client_extra
        )
    )
    (folder / "server.conf").write_text(content)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "server.log").open("wb"))
        process = subprocess.Popen(
            [NATS_SERVER, "-c", folder / "server.conf"], stdout=log, stderr=log
        )
        stack.callback(_end, process)
        _await_ready(process, folder / "server.log")
        yield Running(process, folder, ports, plain)


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        return READY in log.read_text(errors="replace")

    await_that(ready, log)


def await_that(condition: Callable[[], bool], log: Path) -> None:
    """Wait until a condition holds; fail with the server's log when it never does."""
    patience = Patience(START_SECONDS)
    while not condition():
        assert patience.lasts(), log.read_text(errors="replace")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
