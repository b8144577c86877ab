"""The lab's agents, cloud and health monitor on a real nats-server with mutual TLS."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rigs.bosh_nats_rig import (
    MONITOR_NAME,
    BoshAuthority,
    BoshNats,
    Director,
    Pair,
    bosh_nats,
    cloud_process,
    credentials,
    wait_until,
)
from rollover.fleet.secret import holds_private_key
from rollover_lab.bosh.cloud.client import CloudVm, DirectorVmStatus, LabCloud
from rollover_lab.bosh.health_monitor.roster import DeploymentHealth, MonitorStatus
from rollover_lab.bosh.job_config import DirectorUser, HealthMonitorConfig, MessageBus
from rollover_lab.bosh.layout import CloudLayout

JAMMY = {"name": "bosh-ubuntu-jammy-go_agent", "version": "1.406"}
OLD_BIONIC = {"name": "bosh-ubuntu-bionic-go_agent", "version": "1.35"}
HURRY = 0.1
GREAT_HURRY = 0.02
LEISURE = 10.0
BUSY_SECONDS = 20.0
"""What takes a few seconds takes less than this on a busy machine too."""
NO_MBUS = {"trusted_certs": "", "disk_associations": []}


class Scene:
    """A server, a cloud and the director's line to its agents."""

    def __init__(self, base: Path, server: BoshNats, cloud: LabCloud) -> None:
        self.base, self.server, self.cloud = base, server, cloud

    def create(self, agent_id: str, stemcell: dict[str, str] | None = None) -> str:
        """Make a VM and wait for its agent."""
        cid = self.cloud.create_vm(
            agent_id=agent_id,
            settings=self.server.settings(agent_id),
            stemcell=stemcell or JAMMY,
        )
        with self.director() as director:
            director.await_ping(agent_id)
        return cid

    def director(self, authority: BoshAuthority | None = None) -> Director:
        """Connect as the director."""
        return self.server.director(authority)

    def vm(self, agent_id: str) -> CloudVm:
        """Return what the cloud says of a VM."""
        return next(vm for vm in self.cloud.vms() if vm.agent_id == agent_id)

    def mbus(self, pair: Pair, *authorities: BoshAuthority) -> dict[str, Any]:
        """Return the argument of `update_settings` for a pair."""
        mbus = {"cert": credentials(pair, authorities), "urls": [self.server.url]}
        return NO_MBUS | {"mbus": mbus}


@contextmanager
def _scene(base: Path, *agents: str, pace: float = HURRY) -> Iterator[Scene]:
    with (
        bosh_nats(base / "nats", agents) as server,
        cloud_process(base / "lab", pace=pace) as cloud,
    ):
        yield Scene(base, server, cloud)


def test_an_agent_answers_and_beats(tmp_path: Path) -> None:
    """Ping, state, errors and heartbeats over the wire, with the permissions of a real director."""
    with _scene(tmp_path, "a") as scene, scene.server.health_monitor() as monitor:
        scene.create("a")
        beat = monitor.next()
        assert beat.subject == "hm.agent.heartbeat.a"
        assert json.loads(beat.payload)["job_state"] == "running"
        with scene.director() as director:
            director.line.publish("agent.a", b"{ malformed")
            assert director.ask("a", "ping") == {"value": "pong"}
            assert director.ask("a", "info") == {"value": {"api_version": 1}}
            assert director.value("a", "get_state", "full")["agent_id"] == "a"
            assert director.ask("a", "nope")["exception"]["message"] == "unknown message nope"
            assert director.finish("a", "drain", "shutdown", {}) == {"value": 0}
        assert monitor.next().subject == "hm.agent.shutdown.a"


def test_new_credentials_take_three_seconds_and_one_restart(tmp_path: Path) -> None:
    """At the real pace: task running, process ended after a second, `ok` from the next life."""
    with _scene(tmp_path, "a", pace=1.0) as scene, scene.director() as director:
        scene.create("a")
        new = scene.server.authority.agent("a")
        began = time.monotonic()
        reply = director.finish(
            "a", "update_settings", scene.mbus(new, scene.server.authority), poll=2
        )
        assert reply == {"value": "ok"}
        assert 1.0 < time.monotonic() - began < BUSY_SECONDS
        assert scene.vm("a").starts == 2
        told = CloudLayout(tmp_path / "lab").vm(scene.vm("a").vm_cid).agent.told()
        assert told.credentials.certificate == new.certificate
        again = scene.mbus(new, scene.server.authority)
        assert director.finish("a", "update_settings", again) == {"value": "ok"}
        assert scene.vm("a").starts == 2


def test_a_whole_rotation_keeps_every_agent(tmp_path: Path) -> None:
    """Both trusted, agents new, new server certificate and only the new CA, agents again."""
    with _scene(tmp_path, "a", "b") as scene:
        old, new = scene.server.authority, BoshAuthority()
        for agent in ("a", "b"):
            scene.create(agent)
        scene.server.trust(old, new)
        scene.server.restart()
        with scene.director(new) as director:
            for agent in ("a", "b"):
                director.await_ping(agent)
                update = scene.mbus(new.agent(agent), old, new)
                assert director.finish(agent, "update_settings", update) == {"value": "ok"}
        scene.server.authority = new
        scene.server.trust(new)
        scene.server.serve(new.server())
        scene.server.restart()
        with scene.director() as director:
            for agent in ("a", "b"):
                director.await_ping(agent)
                update = scene.mbus(new.agent(agent), new)
                assert director.finish(agent, "update_settings", update) == {"value": "ok"}
                director.await_ping(agent)
        assert {vm.starts for vm in scene.cloud.vms()} == {3}


def test_a_forgotten_agent_is_cut_off_and_comes_back_with_the_old_trust(tmp_path: Path) -> None:
    """Distrust bites at the next handshake, and taking the step back heals it without a touch."""
    with _scene(tmp_path, "a") as scene:
        old, new = scene.server.authority, BoshAuthority()
        scene.create("a")
        scene.server.authority = new
        scene.server.trust(new)
        scene.server.serve(new.server())
        scene.server.restart()
        with scene.director() as director:
            assert not director.pings("a", seconds=2)
        scene.server.trust(old, new)
        scene.server.serve(old.server())
        scene.server.authority = old
        scene.server.restart()
        with scene.director(new) as director:
            director.await_ping("a")
        assert scene.vm("a").starts == 1


@pytest.mark.parametrize("bad", ["mismatched key", "joined bundle", "truncated file"])
def test_bad_credentials_crash_for_ever_until_somebody_mends_the_disk(
    tmp_path: Path, bad: str
) -> None:
    """Nothing checks them before; NATS cannot repair it; no log shows a key."""
    with _scene(tmp_path, "a", pace=GREAT_HURRY) as scene:
        cid, authority = scene.create("a"), scene.server.authority
        files = CloudLayout(tmp_path / "lab").vm(cid).agent
        fresh = authority.agent("a")
        update = scene.mbus(fresh, authority)
        if bad == "mismatched key":
            update["mbus"]["cert"]["private_key"] = authority.agent("a").private_key
        if bad == "joined bundle":
            update["mbus"]["cert"]["ca"] = authority.pem.rstrip("\n") + authority.pem
        with scene.director() as director:
            task = director.value("a", "update_settings", update)
            assert task["state"] == "running"
            if bad == "truncated file":
                wait_until(lambda: scene.vm("a").starts > 1, "it restarts")
                files.update_settings.write_bytes(files.update_settings.read_bytes()[:20])
                scene.cloud.fault("a", "dead")
                scene.cloud.fault("a", "none")
            wait_until(lambda: scene.vm("a").starts > 5, "it crashes again and again")
            assert not director.pings("a")
            if bad == "truncated file":
                files.update_settings.unlink()
            scene.cloud.rewrite_credentials("a", credentials(fresh, (authority,)))
            director.await_ping("a")
        assert "cannot start" in files.log.read_text()
        assert not holds_private_key(files.log.read_text())


def test_a_crash_loop_at_the_real_pace_is_about_three_starts_a_second(tmp_path: Path) -> None:
    """So a fleet in a crash loop leaves the machine alone."""
    with _scene(tmp_path, "a", pace=1.0) as scene:
        scene.create("a")
        scene.cloud.rewrite_credentials("a", {"ca": "junk"})
        began, starts = time.monotonic(), scene.vm("a").starts
        wait_until(lambda: scene.vm("a").starts >= starts + 4, "four starts")
        assert 0.9 < time.monotonic() - began < BUSY_SECONDS


def test_a_foreign_certificate_is_refused_and_the_process_restarts_now_and_then(
    tmp_path: Path,
) -> None:
    """Two refusals close the connection; when sixty heartbeats have failed, the process ends."""
    with _scene(tmp_path, "a", pace=GREAT_HURRY) as scene:
        scene.cloud.create_vm(agent_id="a", settings=_foreign(scene.server), stemcell=JAMMY)
        wait_until(lambda: scene.vm("a").starts >= 3, "it restarts")
        log = CloudLayout(tmp_path / "lab").vm(scene.vm("a").vm_cid).agent.log.read_text()
        first_life = log.partition("ended with code 1")[0]
        assert first_life.count("refused: Authorization Violation") == 2


def test_an_agent_whose_user_is_missing_for_a_while_needs_a_restart(tmp_path: Path) -> None:
    """Hazard H13: a server that comes back before `auth.json` is filled costs each agent a life."""
    with _scene(tmp_path, "a", pace=GREAT_HURRY) as scene:
        scene.create("a")
        scene.server.admit()
        scene.server.restart()
        wait_until(lambda: scene.vm("a").starts > 1, "its process gave up")
        scene.server.admit(["a"])
        scene.server.reload()
        with scene.director() as director:
            director.await_ping("a")


def test_a_server_with_another_common_name_is_not_talked_to(tmp_path: Path) -> None:
    """Chain and address are right, and still it is not `*.nats.bosh-internal`."""
    with _scene(tmp_path, "a") as scene:
        scene.create("a")
        scene.server.serve(scene.server.authority.server("nats.example.com"))
        scene.server.restart()
        with scene.director() as director:
            assert not director.pings("a", seconds=2)
            scene.server.serve(scene.server.authority.server("x1.nats.bosh-internal"))
        scene.server.restart()
        with scene.director() as director:
            director.await_ping("a")


def test_expiry_bites_at_the_next_handshake_only(tmp_path: Path) -> None:
    """A connected agent with an expired certificate answers until the server restarts."""
    with _scene(tmp_path, "a") as scene:
        cid = scene.create("a")
        with scene.director() as director:
            expiry = _connects_in_time(scene, director)
            wait_until(lambda: datetime.now(UTC) > expiry, "it has expired")
            assert director.ask("a", "ping") == {"value": "pong"}
        scene.server.restart()
        with scene.director() as director:
            assert not director.pings("a", seconds=2)
        assert scene.vm("a").vm_cid == cid


def _connects_in_time(scene: Scene, director: Director) -> datetime:
    """Give the agent a certificate with which it connects before it ends; return when that is."""
    for seconds in (2, 4, 8, 16, 32):
        lifetime = timedelta(seconds=seconds)
        short = scene.server.authority.agent("a", lifetime=lifetime)
        expiry = datetime.now(UTC) + lifetime
        scene.cloud.rewrite_credentials("a", credentials(short, (scene.server.authority,)))
        while datetime.now(UTC) < expiry:
            if director.pings("a"):
                return expiry
    raise AssertionError("this machine is too busy to connect within half a minute")


def test_hung_slow_and_forgetful_agents(tmp_path: Path) -> None:
    """A hung one answers nobody; after a crash before saving `ok` is a lie."""
    with _scene(tmp_path, "a", pace=GREAT_HURRY) as scene, scene.director() as director:
        scene.create("a")
        scene.cloud.fault("a", "hung")
        assert not director.pings("a")
        scene.cloud.fault("a", "crash-before-save")
        before = CloudLayout(tmp_path / "lab").vm(scene.vm("a").vm_cid).agent.told()
        fresh = scene.mbus(scene.server.authority.agent("a"), scene.server.authority)
        assert director.finish("a", "update_settings", fresh) == {"value": "ok"}
        after = CloudLayout(tmp_path / "lab").vm(scene.vm("a").vm_cid).agent.told()
        assert after == before
        assert scene.vm("a").fault == "none"
        scene.cloud.fault("a", "slow")
        task = director.value("a", "update_settings", fresh)["agent_task_id"]
        wait_until(lambda: not scene.vm("a").running, "it ends")
        assert not director.pings("a")
        scene.cloud.fault("a", "none")
        director.await_ping("a")
        assert director.ask("a", "get_task", task) == {"value": "ok"}


def test_an_agent_of_an_old_stemcell_keeps_its_certificate(tmp_path: Path) -> None:
    """Hazard H1: `ok`, no restart, nothing changed."""
    with _scene(tmp_path, "a") as scene, scene.director() as director:
        scene.create("a", OLD_BIONIC)
        fresh = scene.mbus(scene.server.authority.agent("a"), scene.server.authority)
        assert director.finish("a", "update_settings", fresh) == {"value": "ok"}
        assert scene.vm("a").starts == 1


def test_a_full_queue_keeps_the_agent_from_answering(tmp_path: Path) -> None:
    """One task runs, five wait; whoever comes next is not heard, nor anybody after."""
    with _scene(tmp_path, "a", pace=LEISURE) as scene, scene.director() as director:
        scene.create("a")
        fresh = scene.mbus(scene.server.authority.agent("a"), scene.server.authority)
        director.value("a", "update_settings", fresh)
        for _ in range(5):
            assert director.value("a", "stop")["state"] == "running"
        assert director.ask("a", "ping") == {"value": "pong"}
        with pytest.raises(TimeoutError):
            director.ask("a", "stop", seconds=0.2)
        assert not director.pings("a", seconds=0.2)


def test_a_persistent_disk_keeps_its_data_over_a_recreate(tmp_path: Path) -> None:
    """Another VM mounts it and finds what the first one wrote."""
    with _scene(tmp_path, "a", "b") as scene, scene.director() as director:
        first, disk = scene.create("a"), scene.cloud.create_disk(100)
        scene.cloud.attach_disk(first, disk)
        assert director.finish("a", "mount_disk", disk) == {"value": {}}
        store = CloudLayout(tmp_path / "lab").vm(first).agent.store
        (store / "data").write_text("kept")
        scene.cloud.delete_vm(first)
        second = scene.create("b")
        scene.cloud.attach_disk(second, disk)
        assert director.finish("b", "mount_disk", disk) == {"value": {}}
        assert director.finish("b", "list_disk") == {"value": [disk]}
        assert (CloudLayout(tmp_path / "lab").vm(second).agent.store / "data").read_text() == "kept"


def test_agents_come_back_with_the_supervisor(tmp_path: Path) -> None:
    """Every VM of before is there and answers."""
    with bosh_nats(tmp_path / "nats", ["a"]) as server:
        with cloud_process(tmp_path / "lab", pace=HURRY) as cloud:
            Scene(tmp_path, server, cloud).create("a")
        with server.director() as director:
            assert not director.pings("a")
            with cloud_process(tmp_path / "lab", pace=HURRY):
                director.await_ping("a")


class _Api(BaseHTTPRequestHandler):
    """As much of a director as the health monitor asks for."""

    asked: list[tuple[str, Any]]

    def do_GET(self) -> None:
        """Answer lists."""
        path = self.path.partition("?")[0]
        if path == "/deployments":
            self._answer([{"name": "cf", "locked": False}])
        elif path == "/deployments/cf/instances":
            self._answer([{"id": "i1", "job": "web", "agent_id": "a", "expects_vm": True}])
        else:
            self._answer([])

    def do_PUT(self) -> None:
        """Note what is to be mended."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, json.loads(body)))
        self._answer({})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, content: Any) -> None:
        known = self.headers["Authorization"] == "Basic aG06c2VjcmV0"
        body = json.dumps(content).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def _api(folder: Path, authority: BoshAuthority) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    asked: list[tuple[str, Any]] = []
    kind = type("Api", (_Api,), {"asked": asked})
    pair = authority.server("director")
    (folder / "api.pem").write_text(pair.certificate + pair.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "api.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def _write_director_vm(lab: Path, scene: Scene, url: str) -> Path:
    """Render the director VM: the director itself is a file that it cannot read."""
    for job in ("nats", "director", "health_monitor"):
        (lab / "vm" / job).mkdir(parents=True)
    shutil.copy(scene.server.folder / "nats.cfg", lab / "vm" / "nats" / "nats.cfg")
    shutil.copy(scene.server.folder / "auth.json", lab / "vm" / "nats" / "auth.json")
    (lab / "vm" / "director" / "director.json").write_text("{}")
    pair, folder = scene.server.authority.client(MONITOR_NAME), lab / "vm" / "health_monitor"
    for name, content in (
        ("hm.pem", pair.certificate),
        ("hm.key", pair.private_key),
        ("ca.pem", scene.server.authority.pem),
    ):
        (folder / name).write_text(content)
    config = HealthMonitorConfig(
        nats=MessageBus(
            address=f"127.0.0.1:{scene.server.port}",
            ca=str(folder / "ca.pem"),
            certificate=str(folder / "hm.pem"),
            private_key=str(folder / "hm.key"),
        ),
        director=url,
        director_ca=str(folder / "ca.pem"),
        user=DirectorUser(name="hm", password="secret"),
        agent_timeout=2.0,
        analyze_interval=0.5,
        status_file=str(folder / "status.json"),
    )
    (folder / "health_monitor.json").write_bytes(msgspec.json.encode(config))
    return folder / "status.json"


def test_the_director_vm_runs_its_processes_and_the_monitor_misses_agents(tmp_path: Path) -> None:
    """Started in order, kept running, stopped; a silent agent is reported and mended."""
    with (
        _scene(tmp_path, "a", pace=GREAT_HURRY) as scene,
        _api(tmp_path, scene.server.authority) as api,
    ):
        url, asked = api
        scene.server.stop()
        path = _write_director_vm(tmp_path / "lab", scene, url)
        scene.cloud.director_vm("start")

        def now() -> DirectorVmStatus:
            return scene.cloud.director_vm("status")

        names = [process.name for process in now().processes]
        assert names == ["nats-server", "director", "health_monitor"]
        wait_until(lambda: now().processes[1].starts > 1, "the director is started again")
        wait_until(scene.server.listens, "the cloud's nats-server listens")
        scene.create("a")
        wait_until(lambda: _heard(path), "the monitor hears the agent", seconds=60)
        asked.clear()  # it was silent as long as it did not exist
        scene.cloud.fault("a", "hung")
        wait_until(lambda: bool(asked), "the monitor has it mended", seconds=60)
        assert asked[0] == ("/deployments/cf/scan_and_fix", {"jobs": {"web": ["i1"]}})
        wait_until(lambda: _misses(path), "the agent is said to be missing")
        wait_until(lambda: _managed(path), "its deployment is to be mended")
        scene.cloud.director_vm("stop")
        assert [process.running for process in now().processes] == [False, False, False]
        assert not now().wanted


def _status(path: Path) -> MonitorStatus:
    return msgspec.json.decode(path.read_bytes(), type=MonitorStatus)


def _heard(path: Path) -> bool:
    if not path.exists():
        return False
    known = _status(path)
    return bool(known.agents) and known.agents[0].heard_at is not None


def _misses(path: Path) -> bool:
    return any(agent.missing for agent in _status(path).agents)


def _managed(path: Path) -> bool:
    return [deployment.health for deployment in _status(path).deployments] == [
        DeploymentHealth.MANAGED
    ]


REAL_AGENT = shutil.which("bosh-agent")


@pytest.mark.skipif(REAL_AGENT is None, reason="there is no bosh-agent on the PATH")
def test_the_lab_agent_answers_as_the_real_one(tmp_path: Path) -> None:
    """The same questions to both, in the same cloud; dummy processes and uptimes apart."""
    with _scene(tmp_path, "ours", "real", pace=1.0) as scene, scene.director() as director:
        scene.create("ours")
        scene.create("real", JAMMY | {"agent_binary": str(REAL_AGENT)})
        for method, *arguments in _QUESTIONS:
            answers = [_normal(director, agent, method, *arguments) for agent in ("ours", "real")]
            assert answers[0] == answers[1], method
        for agent in ("ours", "real"):
            authority = scene.server.authority
            update = scene.mbus(authority.agent(agent), authority)
            assert director.finish(agent, "update_settings", update, poll=2) == {"value": "ok"}
        assert [vm.starts for vm in scene.cloud.vms()] == [2, 2]


_QUESTIONS: tuple[tuple[Any, ...], ...] = (
    ("ping",),
    ("info",),
    ("get_state",),
    ("nope",),
    ("get_task",),
    ("get_task", "x"),
    ("cancel_task", "x"),
    ("update_settings", NO_MBUS),
    ("update_settings",),
    ("update_settings", {"disk_associations": [{"name": "x", "cid": "d"}]}),
    ("run_script", "pre-start", {}),
    ("list_disk",),
    ("drain", "update"),
    ("drain", "status"),
    ("drain", "shutdown"),
    ("prepare", {}),
    ("apply", {"networks": {"n": {"ip": "10.0.0.1"}}}),
    ("apply", {"deployment": "cf", "id": "x", "networks": {"default": {"ip": "10.0.0.1"}}}),
    ("get_state",),
    ("stop",),
    ("get_state",),
    ("start",),
    ("mount_disk", "d1"),
    ("unmount_disk", "d1"),
    ("run_errand",),
    ("run_errand", "smoke"),
)


def _normal(director: Director, agent: str, method: str, *arguments: Any) -> Any:
    """Ask, follow a task, and leave out what must differ: ids, names and processes."""
    reply = director.ask(agent, method, *arguments)
    value = reply.get("value")
    if isinstance(value, dict) and "agent_task_id" in value:
        task = value["agent_task_id"]
        while isinstance(value, dict) and "agent_task_id" in value:
            reply = director.ask(agent, "get_task", task)
            value = reply.get("value")
        return json.loads(json.dumps(reply).replace(task, "TASK"))
    if isinstance(value, dict):
        value.pop("processes", None)
    return json.loads(json.dumps(reply).replace(agent, "AGENT"))


def _foreign(server: BoshNats) -> dict[str, Any]:
    told = server.settings("a")
    told["env"]["bosh"]["mbus"]["cert"] = credentials(
        server.authority.agent("other"), (server.authority,)
    )
    return told
