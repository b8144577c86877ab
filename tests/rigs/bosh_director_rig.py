"""The lab's director with a real nats-server and the lab's cloud, driven over its HTTPS API."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec

from rigs.bosh_lab import ready
from rigs.bosh_nats_rig import cloud_process, wait_until
from rigs.loopback_ports import free_ports
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import LEAF_NODE, issue_authority, issue_leaf
from rollover.pki.keys import KeyForm, PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.job_config import (
    AgentCredentials,
    DirectorConfig,
    DirectorTiming,
    DirectorUser,
    MessageBus,
)
from rollover_lab.machine import LOOPBACK
from rollover_lab.state import LabDirectory

NATS_SERVER = Path(sys.executable).parent / "nats-server"
USER, PASSWORD = "admin", "throw-away"
TASK_SECONDS = 180.0
QUICK = DirectorTiming(
    rpc_timeout=20.0,
    get_state_timeout=1.0,
    get_task_timeout=1.0,
    get_task_poll=0.05,
    agent_wait=60.0,
    list_timeout=1.0,
    sync_interval=0.05,
    nats_reconnect=0.1,
    watch_minimum=0.0,
)
SHARED_KEYS = 3
PACE = 0.02
"""What the waits of agents are multiplied by: their shortest is shorter than the director's."""
SLOWER_PACE = 0.05
"""Where it matters that an agent that restarts is away for longer than the director waits."""
MANIFEST = """\
name: {name}
releases:
- {{name: zookeeper, version: "0.0.10"}}
stemcells:
- {{alias: default, os: ubuntu-jammy, version: "1.500"}}
update:
  canaries: 1
  max_in_flight: {max_in_flight}
  canary_watch_time: 0-20000
  update_watch_time: 0-20000
instance_groups:
- name: zookeeper
  instances: {instances}
  azs: [z1]
  vm_type: default
  stemcell: default
  persistent_disk: {disk}
  networks: [{{name: default}}]
  jobs:
  - {{name: zookeeper, release: zookeeper, properties: {{size: {size}}}{provides}}}
- name: smoke
  instances: 1
  azs: [z1]
  lifecycle: errand
  stemcell: default
  jobs: [{{name: smoke-tests, release: zookeeper}}]
variables:
- {{name: password, type: password}}
"""


def manifest(
    name: str = "zk",
    *,
    instances: int = 1,
    max_in_flight: int | str = 1,
    disk: int = 0,
    size: int = 1,
    provides: str = "",
) -> str:
    """Return a manifest with a group of servers and an errand."""
    return MANIFEST.format(
        name=name,
        instances=instances,
        max_in_flight=max_in_flight,
        disk=disk,
        size=size,
        provides=provides and f", provides: {provides}",
    )


class Authority:
    """A throw-away NATS CA with an RSA key; all have the same subject."""

    def __init__(self) -> None:
        self.key: PrivateKey = generate(KeyKind.RSA_2048)
        self.certificate = issue_authority(
            common_name="default.nats-ca.bosh-internal",
            key=self.key,
            not_before=datetime.now(UTC) - timedelta(minutes=5),
            lifetime=timedelta(days=365),
        )

    def leaf(self, common_name: str) -> tuple[bytes, bytes]:
        """Return a certificate for loopback and its key, PEM."""
        key = _leaf_key()
        certificate = issue_leaf(
            profile=LEAF_NODE,
            common_name=common_name,
            names=(LOOPBACK,),
            key=key,
            authority=self.certificate,
            authority_key=self.key,
            not_before=datetime.now(UTC) - timedelta(minutes=5),
            lifetime=timedelta(days=30),
            organization="Cloud Foundry",
        )
        return write_certificates((certificate,)), to_pem(key, KeyForm.PKCS1)


@cache
def _leaf_key() -> PrivateKey:
    """Return the key of all leaves: to make one takes longer than all the rest."""
    return generate(KeyKind.RSA_2048)


class Ended(NamedTuple):
    """A task that has ended, with its outputs."""

    task: dict[str, Any]
    events: list[dict[str, Any]]
    results: list[dict[str, Any]]

    def steps(self, state: str = "finished") -> list[tuple[str, str]]:
        """Return stage and task of the events in this state, in their order."""
        return [(e["stage"], e["task"]) for e in self.events if e.get("state") == state]


class DirectorRig:
    """A director VM without the VM: its files, its processes, its API."""

    def __init__(self, folder: Path, cloud: LabCloud) -> None:
        self.folder = folder
        self.cloud = cloud
        self.port, self.nats_port, self.monitor_port = free_ports(3)
        self.timing = QUICK
        self.changes: dict[str, Any] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.old = Authority()
        self.trusted: tuple[Authority, ...] = (self.old,)
        self._render_fixed()
        self.render(signer=self.old, server=self.old, clients=self.old)

    def render(self, *, signer: Authority, server: Authority, clients: Authority) -> None:
        """Write what a create-env would: who signs agents, and who signed the rest."""
        bundle = write_certificates([item.certificate for item in self.trusted])
        self._write("ca.pem", bundle)
        self._write("signer.pem", write_certificates((signer.certificate,)))
        self._write("signer.key", to_pem(signer.key, KeyForm.PKCS1))
        for name, authority, common_name in (
            ("server", server, "default.nats.bosh-internal"),
            ("director", clients, "default.director.bosh-internal"),
        ):
            certificate, key = authority.leaf(common_name)
            self._write(f"{name}.pem", certificate)
            self._write(f"{name}.key", key)

    def trust(self, *authorities: Authority) -> None:
        """Trust these, from the next rendering on."""
        self.trusted = authorities

    def start(self) -> None:
        """Start nats-server and director as a fresh director VM would, and wait for the API."""
        self._write("auth.json", b'{"authorization": {"token": "f0oBar"}}')
        self._start("nats", str(NATS_SERVER), "-c", str(self.folder / "nats.cfg"))
        wait_until(lambda: _listens(self.nats_port), "nats-server listens")
        self.start_director()

    def start_director(self) -> None:
        """Start the director and wait until it answers."""
        config = self.folder / "director.json"
        self._write("director.json", msgspec.json.encode(self.config()))
        argv = (sys.executable, "-m", "rollover_lab.bosh.director", "--config", str(config))
        self._start("director", *argv)

        def answers() -> bool:
            assert self._processes["director"].poll() is None, self.log("director")
            return _listens(self.port)

        wait_until(answers, "the director answers", seconds=60)

    def stop(self, name: str = "") -> None:
        """End a process, or all."""
        for text in [name] if name else ["director", "nats"]:
            process = self._processes.pop(text, None)
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def wait_for_end(self, name: str) -> int:
        """Wait until a process ends by itself; return its exit code."""
        return self._processes.pop(name).wait(60)

    def restart(self) -> None:
        """Do what create-env does to a director whose manifest has changed."""
        self.stop()
        self.start()

    def config(self) -> DirectorConfig:
        """Return the director's configuration."""
        path = self.folder.joinpath
        return msgspec.structs.replace(
            DirectorConfig(
                name="lab",
                uuid="8f1b0b4e-0000-4000-8000-000000000000",
                listen=f"{LOOPBACK}:{self.port}",
                certificate=str(path("api.pem")),
                private_key=str(path("api.key")),
                users=(DirectorUser(name=USER, password=PASSWORD),),
                nats=MessageBus(
                    address=f"{LOOPBACK}:{self.nats_port}",
                    ca=str(path("ca.pem")),
                    certificate=str(path("director.pem")),
                    private_key=str(path("director.key")),
                ),
                agents=AgentCredentials(
                    client_ca_certificate=str(path("signer.pem")),
                    client_ca_private_key=str(path("signer.key")),
                    bundle=str(path("ca.pem")),
                    url=f"nats://{LOOPBACK}:{self.nats_port}",
                ),
                auth_file=str(path("auth.json")),
                nats_pid_file=str(path("nats.pid")),
                nats_subjects=(
                    "O = Cloud Foundry, CN = default.director.bosh-internal",
                    "O = Cloud Foundry, CN = default.hm.bosh-internal",
                ),
                database=str(path("store/director.sqlite")),
                tasks=str(path("store/tasks")),
                cloud=str(LabDirectory(path("lab")).control),
                shared_keys=SHARED_KEYS,
                ready_keys=str(ready() / "agent-keys-of-rigs.pem"),
                timing=self.timing,
            ),
            **self.changes,
        )

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://{LOOPBACK}:{self.port}"

    def log(self, name: str) -> str:
        """Return what a process said."""
        return (self.folder / f"{name}.log").read_text()

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Make one request, as the bosh CLI does: a connection of its own, no redirects."""
        context = ssl.create_default_context(cafile=str(self.folder / "api-ca.pem"))
        options.setdefault("auth", (USER, PASSWORD))
        with httpx2.Client(verify=context, timeout=300) as client:
            return client.request(method, self.url + path, **options)

    def get(self, path: str) -> Any:
        """Return what a GET answers."""
        response = self.call("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def run(self, method: str, path: str, **options: Any) -> Ended:
        """Make a request that starts a task; return the task when it has ended."""
        return self.ended(self.begin(method, path, **options))

    def begin(self, method: str, path: str, **options: Any) -> int:
        """Make a request that starts a task; return its number."""
        response = self.call(method, path, **options)
        assert response.status_code == 302, response.text
        return int(response.headers["Location"].rpartition("/")[2])

    def ended(self, number: int) -> Ended:
        """Wait until a task has ended."""
        task: dict[str, Any] = {}

        def has_ended() -> bool:
            task.update(self.get(f"/tasks/{number}"))
            return task["state"] not in {"queued", "processing", "cancelling"}

        wait_until(has_ended, f"task {number} ends: {task}", seconds=TASK_SECONDS)
        return Ended(task, self.output(number, "event"), self.output(number, "result"))

    def output(self, number: int, kind: str) -> list[dict[str, Any]]:
        """Return the lines of an output."""
        text = self.call("GET", f"/tasks/{number}/output?type={kind}").text
        return [json.loads(line) for line in text.splitlines()]

    def deploy(self, text: str, query: str = "") -> Ended:
        """Deploy a manifest."""
        return self.run("POST", f"/deployments{query}", content=text, headers=YAML)

    def instances(self, name: str = "zk") -> list[dict[str, Any]]:
        """Return the instances of a deployment with their agents' states."""
        return self.run("GET", f"/deployments/{name}/instances?format=full").results

    def connected(self) -> dict[str, str]:
        """Return the fingerprint of each agent's live certificate, by its subject."""
        url = f"http://{LOOPBACK}:{self.monitor_port}/connz?auth=1"
        connections = httpx2.get(url, timeout=120).json()["connections"]
        peers = [
            peer for connection in connections for peer in connection.get("tls_peer_certs", [])[:1]
        ]
        return {
            peer["subject"]: peer["cert_sha256"]
            for peer in peers
            if ".agent.bosh-internal" in peer["subject"]
        }

    def messages(self, number: int, agent_id: str) -> list[str]:
        """Return the methods that a task sent to an agent, without looking after tasks."""
        lines = self.call("GET", f"/tasks/{number}/output?type=debug").text.splitlines()
        marker = f"SENT: agent.{agent_id} "
        sent = [line.partition(marker)[2] for line in lines if marker in line]
        names = [
            "run_script " + line.split('"')[1] if line.startswith("run_script") else line.split()[0]
            for line in sent
        ]
        return [name for name in names if name != "get_task"]

    def _render_fixed(self) -> None:
        authority = Authority()
        certificate, key = authority.leaf("director")
        self._write("api-ca.pem", write_certificates((authority.certificate,)))
        self._write("api.pem", certificate)
        self._write("api.key", key)
        self._write(
            "nats.cfg",
            f"""
listen: "{LOOPBACK}:{self.nats_port}"
http: "{LOOPBACK}:{self.monitor_port}"
pid_file: "{self.folder}/nats.pid"
tls {{
  cert_file: "{self.folder}/server.pem", key_file: "{self.folder}/server.key"
  ca_file: "{self.folder}/ca.pem", verify_and_map: true, timeout: 30
}}
ping_interval: 5, ping_max: 2, max_payload: 1048576
include "auth.json"
""".encode(),
        )

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)

    def _start(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(argv, stdout=log, stderr=log)


YAML = {"Content-Type": "text/yaml"}


@contextmanager
def director_rig(
    folder: Path, *, prepare: Callable[[DirectorRig], None] | None = None, pace: float = PACE
) -> Iterator[DirectorRig]:
    """Run a director with its cloud until the block ends."""
    with ExitStack() as running:
        cloud = running.enter_context(cloud_process(folder / "lab", pace=pace))
        rig = DirectorRig(folder, cloud)
        if prepare is not None:
            prepare(rig)
        running.callback(rig.stop)
        rig.start()
        yield rig


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), 1):
            return True
    except OSError:
        return False
