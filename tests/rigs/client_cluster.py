"""A cluster of real nats-servers on loopback: mutual TLS on all ports, JetStream on."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats

from rigs.client_pki import Authority, Pair, deliver
from rigs.loopback_ports import free_ports
from rigs.patience import Patience

NATS_SERVER = Path(sys.executable).parent / "nats-server"
START_SECONDS = 60.0
SYSTEM_USER, SYSTEM_PASSWORD = "system", "throw-away"
_CONFIG = """
server_name: {name}
listen: 127.0.0.1:{client}
http: 127.0.0.1:{monitor}
jetstream {{ store_dir: "{directory}/jetstream", max_mem: 64MB, max_file: 256MB }}
tls {{ cert_file: "{directory}/tls.crt", key_file: "{directory}/tls.key",
       ca_file: "{directory}/ca.crt", verify: true, timeout: 5 }}
cluster {{
  name: tests
  listen: 127.0.0.1:{route}
  routes: [{routes}]
  tls {{ cert_file: "{directory}/tls.crt", key_file: "{directory}/tls.key",
         ca_file: "{directory}/ca.crt", timeout: 5 }}
}}
accounts {{
  APP {{ jetstream: enabled, users: [{{ user: app, password: app }}] }}
  SYS {{ users: [{{ user: {system_user}, password: {system_password} }}] }}
}}
system_account: SYS
no_auth_user: app
"""


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds; fail the test when it does not in time."""
    patience = Patience(seconds)
    while not condition():
        if not patience.lasts():
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class Node:
    """One server: its directory, its ports and its process."""

    def __init__(self, directory: Path, *, client: int, route: int, monitor: int) -> None:
        self.directory = directory
        self.client, self.route, self.monitor = client, route, monitor
        self.url = f"tls://localhost:{client}"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, routes: list[int]) -> None:
        """Write the server's configuration."""
        text = _CONFIG.format(
            name=self.directory.name,
            directory=self.directory,
            client=self.client,
            route=self.route,
            monitor=self.monitor,
            routes=", ".join(f"nats-route://localhost:{port}" for port in routes),
            system_user=SYSTEM_USER,
            system_password=SYSTEM_PASSWORD,
        )
        (self.directory / "server.conf").write_text(text)

    def start(self) -> None:
        """Start the process; readiness is the cluster's to wait for."""
        log = (self.directory / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [NATS_SERVER, "-c", self.directory / "server.conf"],
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def check_alive(self) -> None:
        """Fail with the server's own words when it has ended by itself."""
        assert self._process is not None
        code = self._process.poll()
        log = (self.directory / "server.log").read_text()[-2000:]
        assert code is None, f"{self.directory.name} ended with {code}: {log}"

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(what)

    def stop(self, what: signal.Signals = signal.SIGKILL) -> None:
        """End the server and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(what)
        self._process.wait(START_SECONDS)
        self._process = None

    def monitoring(self, path: str) -> dict[str, Any]:
        """Return what the monitoring port says; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/{path}", timeout=5) as it:
                answer: dict[str, Any] = json.load(it)
        except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
            return {}
        return answer

    def reload(self) -> None:
        """Reload, and wait for the only proof that it worked: `config_load_time` moves."""
        before = self.monitoring("varz")["config_load_time"]
        self.send(signal.SIGHUP)
        wait_until(
            lambda: self.monitoring("varz").get("config_load_time", before) != before,
            f"reload of {self.directory.name}",
        )

    def connections(self, name: str) -> list[dict[str, Any]]:
        """Return the open connections of clients called `name`, with their certificates."""
        answer = self.monitoring("connz?auth=true&limit=1024")
        return [entry for entry in answer.get("connections", []) if entry.get("name") == name]


class Cluster:
    """Three servers that are route peers."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(9)
        self.nodes = [
            Node(
                directory / f"n{number}",
                client=ports[number],
                route=ports[3 + number],
                monitor=ports[6 + number],
            )
            for number in range(3)
        ]

    @property
    def urls(self) -> list[str]:
        """The client URLs of all servers."""
        return [node.url for node in self.nodes]

    def deliver(self, pairs: list[Pair] | None = None, *, ca: bytes | None = None) -> None:
        """Write certificates, a bundle or both for every server."""
        for number, node in enumerate(self.nodes):
            deliver(node.directory, pairs[number] if pairs else None, ca=ca)

    def start(self) -> None:
        """Start all servers and wait until JetStream has a leader that sees them all."""
        for node in self.nodes:
            node.configure([item.route for item in self.nodes if item is not node])
            node.start()
        wait_until(self.ready, "a JetStream leader and all routes", seconds=START_SECONDS)

    def ready(self) -> bool:
        """Say whether every server is healthy and knows a JetStream leader."""
        for node in self.nodes:
            node.check_alive()
        return all(
            node.monitoring("healthz").get("status") == "ok"
            and node.monitoring("jsz").get("meta_cluster", {}).get("leader")
            and len({route["remote_name"] for route in node.monitoring("routez")["routes"]}) == 2
            for node in self.nodes
        )

    def reload(self) -> None:
        """Reload every server, one after the other."""
        for node in self.nodes:
            node.reload()

    def connections(self, name: str) -> list[dict[str, Any]]:
        """Return the open connections of clients called `name` on all servers."""
        return [connection for node in self.nodes for connection in node.connections(name)]

    def node_of(self, url: str) -> Node:
        """Return the server with this client URL."""
        port = int(url.rpartition(":")[2])
        return next(node for node in self.nodes if node.client == port)

    def stop(self) -> None:
        """End every server."""
        for node in self.nodes:
            node.stop()


async def system_request(
    node: Node, what: str, payload: dict[str, Any], *, trust: Path
) -> dict[str, Any]:
    """Send `$SYS.REQ.SERVER.<id>.<what>` with the certificate in directory `trust`."""
    context = ssl.create_default_context(cafile=trust / "ca.crt")
    context.load_cert_chain(trust / "tls.crt", trust / "tls.key")
    client = await nats.connect(node.url, tls=context, user=SYSTEM_USER, password=SYSTEM_PASSWORD)
    try:
        subject = f"$SYS.REQ.SERVER.{node.monitoring('varz')['server_id']}.{what}"
        answer = await client.request(subject, json.dumps(payload).encode(), timeout=300)
    finally:
        await client.close()
    result: dict[str, Any] = json.loads(answer.data)
    return result


@contextmanager
def running(directory: Path, signer: Authority, *, ca: bytes) -> Iterator[Cluster]:
    """Run a cluster whose servers present certificates of `signer` and trust `ca`."""
    cluster = Cluster(directory)
    for node in cluster.nodes:
        node.directory.mkdir()
    cluster.deliver([signer.issue(node.directory.name) for node in cluster.nodes], ca=ca)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
