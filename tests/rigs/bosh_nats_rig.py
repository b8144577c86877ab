"""A real nats-server as a BOSH director VM runs it, its certificates, and clients for it."""

from __future__ import annotations

import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, Self, TypeVar
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rigs.loopback_ports import free_ports
from rigs.patience import Patience
from rollover.errors import Unreachable
from rollover.probe import nats_protocol as nats
from rollover_lab import state
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.state import BoshContent, LabDirectory, LabState

NATS_SERVER = Path(sys.executable).parent / "nats-server"
LOOPBACK = "127.0.0.1"
SERVER_NAME = "default.nats.bosh-internal"
DIRECTOR_NAME = "default.director.bosh-internal"
MONITOR_NAME = "default.hm.bosh-internal"
DAY = timedelta(days=1)
ANSWER_SECONDS = 120.0
"""How long anything may take that is to come at once: the machine may be busy."""

E = TypeVar("E", bound=nats.Event)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: str
    private_key: str


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds; fail the test when it does not in time."""
    patience = Patience(seconds)
    while not condition():
        assert patience.lasts(), f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class BoshAuthority:
    """A throw-away NATS CA. All have the same subject, as `bosh` makes them."""

    def __init__(self, *, lifetime: timedelta = 365 * DAY, begins: datetime | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.lifetime = lifetime
        self.begins = begins or datetime.now(UTC) - timedelta(minutes=1)
        self._name = _name("US", "default.nats-ca.bosh-internal")
        builder = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(self._own_id(), critical=False)
        )
        self.certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        """The CA certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The CA's private key."""
        return _key_pem(self._key)

    def server(self, common_name: str = SERVER_NAME, names: Iterable[str] = (LOOPBACK,)) -> Pair:
        """Return a certificate for the NATS server."""
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        return self._leaf(common_name, ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def client(self, common_name: str) -> Pair:
        """Return a certificate for the director or the health monitor."""
        return self._leaf(common_name, ExtendedKeyUsageOID.CLIENT_AUTH)

    def agent(
        self, agent_id: str, *, bootstrap: bool = False, lifetime: timedelta | None = None
    ) -> Pair:
        """Return what a director makes for an agent: three-letter country, no key identifiers.

        `lifetime` counts from now; without it the certificate ends with the authority.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        end = None if lifetime is None else datetime.now(UTC) + lifetime
        builder = (
            self._builder(_name("USA", _agent_name(agent_id, bootstrap=bootstrap)), key, end=end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        )
        return self._sign(builder, key)

    def _leaf(
        self,
        common_name: str,
        purpose: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_name("US", common_name), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        return self._sign(builder, key)

    def _builder(
        self, subject: x509.Name, key: Key, *, end: datetime | None = None
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(end or self.begins + self.lifetime)
        )

    def _own_id(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def _sign(self, builder: x509.CertificateBuilder, key: Key) -> Pair:
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(Encoding.PEM).decode(), _key_pem(key))


class BoshNats:
    """A nats-server with `verify_and_map` and an included `auth.json`, reference/bosh.md §2."""

    def __init__(self, folder: Path, authority: BoshAuthority) -> None:
        self.folder = folder
        self.authority = authority
        self.port, self.monitor = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        self.serve(authority.server())
        self.trust(authority)
        self.admit()
        (folder / "nats.cfg").write_text(f"""
listen: "{LOOPBACK}:{self.port}"
http: "{LOOPBACK}:{self.monitor}"
pid_file: "{folder}/nats.pid"
tls {{
  cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", ca_file: "{folder}/ca.pem"
  verify_and_map: true, timeout: 30
}}
# BOSH has 5 here; a `NatsLine` answers pings only while it reads
ping_interval: 120, ping_max: 2, max_payload: 1048576
include "auth.json"
""")

    @property
    def url(self) -> str:
        """Where agents connect to."""
        return f"nats://{LOOPBACK}:{self.port}"

    def serve(self, pair: Pair) -> None:
        """Present this certificate from the next reload or restart on."""
        (self.folder / "server.pem").write_text(pair.certificate)
        (self.folder / "server.key").write_text(pair.private_key)

    def trust(self, *authorities: BoshAuthority) -> None:
        """Accept clients of these authorities from the next reload or restart on."""
        (self.folder / "ca.pem").write_text("".join(authority.pem for authority in authorities))

    def admit(self, agents: Sequence[str] = (), *, bootstrap: Sequence[str] = ()) -> None:
        """Write `auth.json`: the director, the health monitor, and these agents."""
        users = [
            _user(f"C = US, O = Cloud Foundry, CN = {DIRECTOR_NAME}", _DIRECTOR_MAY),
            _user(f"C = US, O = Cloud Foundry, CN = {MONITOR_NAME}", _MONITOR_MAY),
            *(_agent_user(agent, bootstrap=False) for agent in agents),
            *(_agent_user(text, bootstrap=True) for text in bootstrap),
        ]
        content = json.dumps({"authorization": {"users": users}})
        (self.folder / "auth.json").write_text(content)

    def start(self) -> None:
        """Start the server and wait until it listens."""
        with (self.folder / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(
                [NATS_SERVER, "-c", self.folder / "nats.cfg"], stdout=log, stderr=log
            )
        wait_until(self._runs_and_listens, "nats-server listens")

    def stop(self) -> None:
        """End the server, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(ANSWER_SECONDS)
            self.process = None

    def restart(self) -> None:
        """Start it again, with the files as they are now."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Have it read its files again."""
        assert self.process is not None
        before = self._log().count("Reloaded server configuration")
        self.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: self._log().count("Reloaded server configuration") > before, "it reloads"
        )

    def client(self, pair: Pair, *subjects: str) -> NatsLine:
        """Connect with a certificate; trusts the authority of the beginning."""
        return NatsLine(self.port, pair, self.authority.pem, subjects)

    def director(self, authority: BoshAuthority | None = None) -> Director:
        """Connect as the director."""
        return Director(self.client((authority or self.authority).client(DIRECTOR_NAME), *_REPLIES))

    def health_monitor(self) -> NatsLine:
        """Connect as the health monitor."""
        subjects = [f"hm.agent.{literal}.*" for literal in ("heartbeat", "alert", "shutdown")]
        pair = self.authority.client(MONITOR_NAME)
        return self.client(pair, *subjects, "hm.director.alert")

    def settings(self, agent_id: str, authority: BoshAuthority | None = None) -> dict[str, Any]:
        """Return agent settings with a certificate of the agent."""
        return settings(agent_id, self.url, (authority or self.authority), (self.authority,))

    def listens(self) -> bool:
        """Say whether somebody listens on its port, whoever started it."""
        try:
            with socket.create_connection((LOOPBACK, self.port), 1):
                return True
        except OSError:
            return False

    def _runs_and_listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log()
        return self.listens()

    def _log(self) -> str:
        return (self.folder / "nats.log").read_text()


def settings(
    agent_id: str, url: str, signer: BoshAuthority, bundle: Sequence[BoshAuthority]
) -> dict[str, Any]:
    """Return the settings that a CPI gives an agent (reference/bosh.md §4.2)."""
    return {
        "agent_id": agent_id,
        "blobstore": {"provider": "dummy", "options": {}},
        "ntp": [],
        "disks": {"persistent": {}},
        "networks": {
            "default": {"type": "manual", "ip": LOOPBACK, "netmask": "255.0.0.0", "gateway": ""}
        },
        "vm": {"name": f"vm-{agent_id}"},
        "mbus": url,
        "env": {"bosh": {"mbus": {"cert": credentials(signer.agent(agent_id), bundle)}}},
    }


def credentials(pair: Pair, bundle: Sequence[BoshAuthority]) -> dict[str, str]:
    """Return `mbus.cert` for a pair and the CAs to trust."""
    return {
        "ca": "".join(bosh_authority.pem for bosh_authority in bundle),
        "certificate": pair.certificate,
        "private_key": pair.private_key,
    }


class NatsLine:
    """A blocking connection to NATS."""

    def __init__(self, port: int, pair: Pair, ca: str, subjects: Sequence[str]) -> None:
        self._parser = nats.Parser()
        self._events: deque[nats.Event] = deque()
        raw = socket.create_connection((LOOPBACK, port), ANSWER_SECONDS)
        self._socket: socket.socket = raw
        try:
            self._await(nats.Info, ANSWER_SECONDS)
            self._socket = _context(pair, ca).wrap_socket(raw, server_hostname=LOOPBACK)
            subscriptions = (
                nats.subscribe(each, number + 1) for number, each in enumerate(subjects)
            )
            options: dict[str, str | bool | int] = {"verbose": False, "tls_required": True}
            self._socket.sendall(nats.connect(options) + b"".join(subscriptions) + nats.PING)
            self._await(nats.Pong, ANSWER_SECONDS)
        except BaseException:
            self._socket.close()
            raise

    def publish(self, subject: str, payload: bytes) -> None:
        """Send a message."""
        self._socket.sendall(nats.publish(subject, payload))

    def next(self, *, seconds: float = ANSWER_SECONDS) -> nats.Message:
        """Return the next message; raise TimeoutError."""
        return self._await(nats.Message, seconds)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await(self, kind: type[E], seconds: float) -> E:
        deadline = time.monotonic() + seconds
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, kind):
                    return event
                if isinstance(event, nats.Ping):
                    self._socket.sendall(nats.PONG)
                if isinstance(event, nats.ServerRefusal):
                    raise PermissionError(event.text)
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server hung up")
            self._events.extend(self._parser.feed(data))


class Director:
    """Speaks to agents as a director does."""

    def __init__(self, line: NatsLine) -> None:
        self.line = line
        self._uuid = str(uuid4())

    def ask(
        self,
        agent_id: str,
        method: str,
        *arguments: Any,
        seconds: float = ANSWER_SECONDS,
        protocol: int = 3,
    ) -> dict[str, Any]:
        """Send a request and return the whole reply; raise TimeoutError."""
        reply_to = f"director.{self._uuid}.{agent_id}.{uuid4()}"
        request = {
            "protocol": protocol,
            "method": method,
            "arguments": list(arguments),
            "reply_to": reply_to,
        }
        self.line.publish(f"agent.{agent_id}", json.dumps(request).encode())
        deadline = time.monotonic() + seconds
        while True:
            message = self.line.next(seconds=max(0.001, deadline - time.monotonic()))
            if message.subject == reply_to:
                reply: dict[str, Any] = json.loads(message.payload)
                return reply

    def value(self, agent_id: str, method: str, *arguments: Any) -> Any:
        """Return the value of a reply."""
        return self.ask(agent_id, method, *arguments)["value"]

    def finish(
        self, agent_id: str, method: str, *arguments: Any, poll: float = 0.5, seconds: float = 60.0
    ) -> dict[str, Any]:
        """Run an asynchronous method to its end and return the last reply."""
        task = self.value(agent_id, method, *arguments)["agent_task_id"]
        patience = Patience(seconds)
        while patience.lasts():
            try:
                reply = self.ask(agent_id, "get_task", task, seconds=poll)
            except TimeoutError:
                continue
            if not isinstance(reply.get("value"), dict) or "agent_task_id" not in reply["value"]:
                return reply
            time.sleep(poll / 10)
        raise TimeoutError(f"{method} on {agent_id}")

    def pings(self, agent_id: str, *, seconds: float = 0.3) -> bool:
        """Say whether an agent answers a ping."""
        try:
            return self.ask(agent_id, "ping", seconds=seconds) == {"value": "pong"}
        except TimeoutError:
            return False

    def await_ping(self, agent_id: str, *, seconds: float = 60.0) -> None:
        """Wait until an agent answers; each ping is given longer than the one before."""
        patience, given = Patience(seconds), 0.2
        while not self.pings(agent_id, seconds=given):
            assert patience.lasts(), f"not within {seconds:g} s: {agent_id} answers"
            given *= 1.2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()


@contextmanager
def bosh_nats(
    folder: Path, agents: Sequence[str] = (), *, authority: BoshAuthority | None = None
) -> Iterator[BoshNats]:
    """Run a server that admits these agents, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = BoshNats(folder, authority or BoshAuthority())
    server.admit(agents)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def cloud_process(lab: Path, *, pace: float = 1.0) -> Iterator[LabCloud]:
    """Run the cloud of a lab until the block ends."""
    lab.mkdir(parents=True, exist_ok=True)
    places = LabDirectory(lab.absolute())
    if not places.state.exists():
        state.write(places.state, LabState(content=BoshContent(name=lab.name, pace=pace)))
    argv = (sys.executable, "-m", "rollover_lab.supervisor", str(lab))
    with places.supervisor_log.open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        cloud = LabCloud(places.control, timeout_seconds=30)

        def answers() -> bool:
            assert process.poll() is None, places.supervisor_log.read_text()
            try:
                cloud.vms()
            except Unreachable:
                return False
            return True

        wait_until(answers, "the cloud answers")
        yield cloud
    finally:
        process.terminate()
        process.communicate(timeout=60)


_REPLIES = ("director.>",)
_DIRECTOR_MAY = {"publish": ["agent.*", "hm.director.alert"], "subscribe": ["director.>"]}
_MONITOR_MAY = {
    "publish": [],
    "subscribe": [
        "hm.agent.heartbeat.*",
        "hm.agent.alert.*",
        "hm.agent.shutdown.*",
        "hm.director.alert",
    ],
}


def _user(subject: str, permissions: dict[str, list[str]]) -> dict[str, object]:
    return {"user": subject, "permissions": permissions}


def _agent_user(agent_id: str, *, bootstrap: bool) -> dict[str, object]:
    topics = [f"hm.agent.{literal}.{agent_id}" for literal in ("heartbeat", "alert", "shutdown")]
    return _user(
        f"C=USA, O=Cloud Foundry, CN={_agent_name(agent_id, bootstrap=bootstrap)}",
        {
            "publish": [*topics, f"director.*.{agent_id}.*"],
            "subscribe": [f"agent.{agent_id}"],
        },
    )


def _agent_name(agent_id: str, *, bootstrap: bool) -> str:
    return f"{agent_id}{'.bootstrap' if bootstrap else ''}.agent.bosh-internal"


def _name(country: str, common_name: str) -> x509.Name:
    """Return a subject; countries of three letters and long names are what BOSH makes."""
    parts = (
        (NameOID.COUNTRY_NAME, country),
        (NameOID.ORGANIZATION_NAME, "Cloud Foundry"),
        (NameOID.COMMON_NAME, common_name),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the length is wrong is the point
        return x509.Name([x509.NameAttribute(*part, _validate=False) for part in parts])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: Key) -> str:
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


def _context(pair: Pair, ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pair.certificate + pair.private_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
