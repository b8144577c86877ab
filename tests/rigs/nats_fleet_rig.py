"""A small fleet of real nats-servers, its description, and the certificates to rotate it with."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from nats.aio.client import Client

from nats_rotating_client.connection import connect
from nats_rotating_client.material import MaterialFiles
from nats_rotating_client.rotation import Pace
from rigs.loopback_ports import free_ports
from rigs.patience import Patience
from rollover.delivery.local import LocalDelivery
from rollover.engine.ports import Pacing
from rollover.errors import AdapterError
from rollover.fleet.certificate import Certificate, KeyKind, Stack
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
    SystemAccount,
)
from rollover.fleet.evidence import (
    EndpointMaterial,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import LEAF_NODE, issue_authority, issue_leaf
from rollover.pki.keys import PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.clients import NatsClients
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.servers import NatsServers
from rollover.probe.monitoring import Monitor

NATS_SERVER = Path(sys.executable).parent / "nats-server"
CLIENT_PORT, ROUTE = EndpointName("client-port"), EndpointName("route")
CLIENT = EndpointName("client")
USER, PASSWORD = "system", "throw-away"
START_SECONDS = 60.0
ALONE = Pacing(canaries=1, max_in_flight=2)


def now() -> datetime:
    """Return the time, as a clock for platforms."""
    return datetime.now(UTC)


class Leaf(NamedTuple):
    """A certificate for both roles on loopback, and its key."""

    certificate: Certificate
    key: SecretBytes


class Authority:
    """A throw-away certificate authority."""

    def __init__(self, common_name: str) -> None:
        self._key: PrivateKey = generate(KeyKind.P256)
        self.certificate = issue_authority(
            common_name=common_name,
            key=self._key,
            not_before=now() - timedelta(minutes=5),
            lifetime=timedelta(days=2),
        )

    def issue(self, common_name: str) -> Leaf:
        """Return a fresh leaf for loopback."""
        key = generate(KeyKind.P256)
        certificate = issue_leaf(
            profile=LEAF_NODE,
            common_name=common_name,
            names=("localhost", "127.0.0.1"),
            key=key,
            authority=self.certificate,
            authority_key=self._key,
            not_before=now() - timedelta(minutes=5),
            lifetime=timedelta(days=1),
        )
        return Leaf(certificate, SecretBytes(to_pem(key)))

    def identity(self, label: str) -> Identity:
        """Return what Rollover presents itself."""
        leaf = self.issue("probe")
        return Identity(
            label=label,
            issuer=self.certificate.fingerprint,
            chain=(leaf.certificate,),
            key=leaf.key,
        )


def write_material(folder: Path, leaf: Leaf, bundle: Sequence[Certificate]) -> None:
    """Write a leaf, its key and a bundle where descriptions of this rig name them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tls.crt").write_bytes(write_certificates((leaf.certificate,)))
    (folder / "tls.key").write_bytes(leaf.key.reveal())
    (folder / "ca.crt").write_bytes(write_certificates(bundle))


def endpoint(
    name: EndpointName, role: Role, *, address: str | None = None, stack: Stack = Stack.GO
) -> EndpointDescription:
    """Describe an endpoint whose files are those of the rig."""
    return EndpointDescription(
        name=name,
        role=role,
        stack=stack,
        address=address,
        certificate="tls.crt",
        key="tls.key",
        ca="ca.crt",
        verify=address is not None,
    )


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds; fail the test when it does not in time."""
    patience = Patience(seconds)
    while not condition():
        assert patience.lasts(), f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class Server:
    """One nats-server of the rig."""

    def __init__(self, folder: Path, ports: tuple[int, int, int]) -> None:
        self.folder = folder
        self.name = InstanceName(folder.name)
        self.client, self.route, self.monitor = ports
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"tls://localhost:{self.client}"

    def configure(self, routes: Sequence[int]) -> None:
        """Write the configuration."""
        tls = 'cert_file: "tls.crt", key_file: "tls.key", ca_file: "ca.crt"'
        cluster = f"""
cluster {{
  name: rig, listen: "127.0.0.1:{self.route}"
  routes: [{", ".join(f'"nats://localhost:{port}"' for port in routes)}]
  tls {{ {tls} }}
}}
"""
        (self.folder / "server.conf").write_text(f"""
server_name: {self.name}
listen: "127.0.0.1:{self.client}"
http: "127.0.0.1:{self.monitor}"
pid_file: "server.pid"
tls {{ {tls}, verify: true, timeout: 5 }}
jetstream {{ store_dir: "jetstream", max_mem: 32MB, max_file: 64MB }}
accounts {{
  SYS {{ users: [ {{ user: {USER}, password: {PASSWORD} }} ] }}
  APP {{ jetstream: enabled, users: [ {{ user: app, password: app }} ] }}
}}
system_account: SYS
no_auth_user: app
{cluster if routes else ""}
""")

    def start(self) -> None:
        """Start the process."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [NATS_SERVER, "-c", "server.conf"], stdout=log, stderr=log, cwd=self.folder
            )

    def stop(self) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(START_SECONDS)
            self.process = None

    def await_ready(self, routes: int) -> None:
        """Return once the server answers and has its routes."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            monitor = Monitor(f"http://127.0.0.1:{self.monitor}", timeout_seconds=2)
            try:
                peers = {route.remote_name for route in monitor.routez().routes}
                return len(peers) >= routes and monitor.healthz().fine
            except AdapterError:
                return False

        wait_until(ready, f"{self.name} is ready", seconds=START_SECONDS)

    def described(self, *, monitor: bool = True) -> InstanceDescription:
        """Describe the server."""
        return InstanceDescription(
            name=self.name,
            working_directory=self.folder.name,
            endpoints=(
                endpoint(CLIENT_PORT, Role.CLIENT_PORT, address=f"localhost:{self.client}"),
                *(
                    (endpoint(ROUTE, Role.ROUTE, address=f"localhost:{self.route}"),)
                    if "cluster" in (self.folder / "server.conf").read_text()
                    else ()
                ),
            ),
            pid_file="server.pid",
            monitor=f"http://127.0.0.1:{self.monitor}" if monitor else None,
        )


class Rig:
    """Servers that run, the authority that they began with, and the one to come."""

    def __init__(self, base: Path, servers: Sequence[Server], old: Authority) -> None:
        self.base = base
        self.servers = tuple(servers)
        self.old, self.new = old, Authority("new")
        self.identities: tuple[Identity, ...] = (
            self.old.identity("ca@1"),
            self.new.identity("ca@2"),
        )
        self.issuers: dict[Fingerprint, Fingerprint] = {}
        (base / "system.password").write_text(PASSWORD + "\n")

    @property
    def names(self) -> tuple[InstanceName, ...]:
        """The names of all servers."""
        return tuple(server.name for server in self.servers)

    def issue(self, authority: Authority, common_name: str) -> Leaf:
        """Return a leaf that `issuer_of` knows."""
        leaf = authority.issue(common_name)
        self.issuers[leaf.certificate.fingerprint] = authority.certificate.fingerprint
        return leaf

    def group(self, *, monitor: bool = True, confirm_seconds: float = 30.0) -> GroupDescription:
        """Describe the servers."""
        instances = tuple(server.described(monitor=monitor) for server in self.servers)
        return GroupDescription(
            name=GroupName("servers"),
            platform="nats",
            instances=instances,
            confirm_seconds=confirm_seconds,
        )

    def platform(
        self,
        *,
        system: bool = True,
        group: GroupDescription | None = None,
        notice_seconds: float = 0.3,
    ) -> NatsServers:
        """Return the platform of the servers."""
        account = SystemAccount(user=USER, password_file="system.password")
        return NatsServers(
            self.described(group or self.group()),
            system=account if system else None,
            known=self,
            clock=now,
            notice_seconds=notice_seconds,
        )

    def clients(self, group: GroupDescription, servers: NatsServers | None = None) -> NatsClients:
        """Return the platform of a group of clients."""
        return NatsClients(
            self.described(group),
            servers=(servers or self.platform(),),
            clock=now,
            known=self.of_authorities,
        )

    def described(self, group: GroupDescription) -> DescribedGroup:
        """Return a group with a delivery to the files of this machine."""
        return DescribedGroup(
            group, delivery=LocalDelivery(state=self.base / "state"), base=self.base
        )

    # What platforms are told of the authorities (`Recognition`).

    def of_authorities(self) -> tuple[Certificate, ...]:
        """Return both CAs."""
        return self.both()

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return who issued a leaf of this rig."""
        return self.issuers.get(leaf)

    def all_identities(self) -> tuple[Identity, ...]:
        """Return what Rollover presents."""
        return self.identities

    def both(self) -> tuple[Certificate, Certificate]:
        """Return the bundle of the time between."""
        return (self.old.certificate, self.new.certificate)

    def trust_both(self, name: InstanceName) -> Order:
        """Order an instance to trust the new CA too, at every endpoint."""
        return self.order(name, bundle=self.both())

    def order(
        self,
        name: InstanceName,
        *,
        leaf: Leaf | None = None,
        bundle: tuple[Certificate, ...] | None = None,
        endpoints: Sequence[EndpointName] = (CLIENT_PORT,),
    ) -> Order:
        """Order a leaf or a bundle, at some endpoints."""
        return Order(
            instance=name,
            endpoints=tuple(
                EndpointMaterial(
                    endpoint=endpoint_name,
                    chain=(leaf.certificate,) if leaf is not None else None,
                    key=leaf.key if leaf is not None else None,
                    bundle=bundle,
                )
                for endpoint_name in endpoints
            ),
        )


@contextmanager
def rig(base: Path, count: int = 1) -> Iterator[Rig]:
    """Run `count` servers until the block ends."""
    old = Authority("old")
    ports = free_ports(3 * count)
    servers = [
        Server(base / f"n{number + 1}", (*ports[3 * number : 3 * number + 3],))  # type: ignore[arg-type]  # three of them
        for number in range(count)
    ]
    made = Rig(base, servers, old)
    with ExitStack() as stack:
        for server in servers:
            write_material(server.folder, made.issue(old, server.name), (old.certificate,))
            server.configure([other.route for other in servers if other is not server])
            server.start()
            stack.callback(server.stop)
        for server in servers:
            server.await_ready(routes=count - 1)
        yield made


def seen(observation: Observation, name: EndpointName = CLIENT_PORT) -> ObservedEndpoint:
    """Return what an endpoint was observed to use."""
    return next(
        observed_endpoint
        for observed_endpoint in observation.endpoints
        if observed_endpoint.endpoint == name
    )


def only(results: Iterator[Result]) -> Result:
    """Return the one result."""
    (result,) = results
    return result


def go_on() -> bool:
    """Never stop."""
    return False


@contextmanager
def connected(url: str, folder: Path, *, name: str, rereads: bool = True) -> Iterator[Client]:
    """Keep a plain nats-py client connected, with the files in `folder`, until the block ends.

    `rereads`: it reads its files anew whenever it connects; false: it keeps what it began with,
    as nats-py does by itself.
    """

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        made.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return made

    client = Client()
    done, ready = Event(), Event()

    async def run() -> None:
        async def refresh() -> None:
            if rereads:
                client.options["tls"] = context()

        await client.connect(
            url, tls=context(), name=name, reconnect_time_wait=0, disconnected_cb=refresh
        )
        ready.set()
        while not done.is_set():  # noqa: ASYNC110 - the event is another thread's
            await asyncio.sleep(0.02)
        await client.close()

    thread = Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        assert ready.wait(START_SECONDS), "the client did not connect"
        yield client
    finally:
        done.set()
        thread.join(START_SECONDS)


@contextmanager
def rotating(running: Rig, name: str) -> Iterator[None]:
    """Keep a client of our own library connected until the block ends."""
    folder, done, ready = running.base / name, Event(), Event()

    async def run() -> None:
        async with connect(
            running.servers[0].url,
            material=MaterialFiles.in_directory(folder),
            name=name,
            status_file=folder / "status.json",
            pace=Pace(poll_seconds=0.1, settle_seconds=0.05),
        ):
            ready.set()
            while not done.is_set():  # noqa: ASYNC110 - the event is another thread's
                await asyncio.sleep(0.02)

    thread = Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        assert ready.wait(START_SECONDS), "the client did not connect"
        yield
    finally:
        done.set()
        thread.join(START_SECONDS)


def client_group(
    *names: str, touch: Touch = Touch.RECONNECT, status: bool = False
) -> GroupDescription:
    """Describe clients whose files are in folders of their names."""
    return GroupDescription(
        name=GroupName("clients"),
        platform="nats-client",
        touch=touch,
        confirm_seconds=10.0,
        instances=tuple(
            InstanceDescription(
                name=InstanceName(name),
                working_directory=name,
                endpoints=(endpoint(CLIENT, Role.CLIENT, stack=Stack.OPENSSL),),
                status_file="status.json" if status else None,
            )
            for name in names
        ),
    )
