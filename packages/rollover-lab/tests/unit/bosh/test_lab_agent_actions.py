"""What an agent answers to each method, without a network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rollover_lab.bosh.agent import actions, protocol
from rollover_lab.bosh.agent.directory import AgentDirectory
from rollover_lab.bosh.agent.host import AgentFault, AgentHost, AgentTiming
from rollover_lab.bosh.agent.protocol import AgentTasks, ProcessExit

SPEC = {
    "deployment": "cf",
    "name": "router",
    "id": "0a1b",
    "index": 0,
    "az": "z1",
    "job": {"name": "router", "templates": [{"name": "gorouter", "version": "1"}]},
    "networks": {"default": {"ip": "10.0.0.5", "dns": ["a"]}},
    "properties": {"logging": {"max_log_file_size": "10M"}},
    "configuration_hash": "abc",
}
CREDENTIALS = {"cert": {"ca": "junk", "certificate": "junk", "private_key": "junk"}}


class Around:
    """What surrounds the agent of these tests."""

    def __init__(self, *, fault: AgentFault = AgentFault.NONE, ignores_mbus: bool = False) -> None:
        self.timing = AgentTiming().hurried(0)
        self.fault = fault
        self.ignores_mbus = ignores_mbus

    def crashed(self) -> None:
        """Heal."""
        self.fault = AgentFault.NONE


class Scene:
    """An agent's directory, and what it has published."""

    def __init__(self, root: Path, around: Around | None = None) -> None:
        self.files = AgentDirectory(root)
        self.around = around or Around()
        self.published: list[tuple[str, object]] = []
        told = {"agent_id": "a", "vm": {"name": "vm-a"}, "networks": {"default": {}}}
        self.files.settings.write_text(json.dumps(told))

    def disk(self, cid: str) -> Path:
        """Attach a disk, as the cloud does."""
        path = self.files.root / "disks" / cid
        path.mkdir(parents=True)
        settings = json.loads(self.files.settings.read_text())
        disks = settings.setdefault("disks", {}).setdefault("persistent", {})
        disks[cid] = {"id": cid, "path": str(path)}
        self.files.settings.write_text(json.dumps(settings))
        return path

    def ask(self, method: str, *arguments: Any, version: int = 3) -> Any:
        """Send one request to a new life of the agent; follow its task to the end."""
        return asyncio.run(self._ask(method, arguments, version))

    async def _ask(self, method: str, arguments: tuple[Any, ...], version: int) -> Any:
        send = lambda topic, content: self.published.append((topic, content))  # noqa: E731 - short
        host = AgentHost(self.files, self.files.told(), surroundings=self.around, send=send)
        tasks = AgentTasks(self.files.tasks)
        reply = await self._dispatch(host, tasks, method, *arguments, version=version)
        value = reply.get("value", {})
        if _runs(reply):
            worker = asyncio.create_task(tasks.work())
            while _runs(reply) and not worker.done():
                await asyncio.sleep(0)
                reply = await self._dispatch(host, tasks, "get_task", value["agent_task_id"])
            if worker.done():
                worker.result()
            worker.cancel()
        return reply

    async def _dispatch(
        self, host: AgentHost, tasks: AgentTasks, method: str, *arguments: Any, version: int = 3
    ) -> dict[str, Any]:
        line = {"protocol": version, "method": method, "arguments": arguments, "reply_to": "x"}
        request = protocol.parse_request(json.dumps(line).encode())
        assert request is not None
        reply: dict[str, Any] = json.loads(await actions.dispatch(host, tasks, request))
        return reply


def _runs(reply: dict[str, Any]) -> bool:
    value = reply.get("value")
    return isinstance(value, dict) and value.get("state") == "running"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """An agent that was told nothing yet."""
    return Scene(tmp_path)


def _message(reply: dict[str, Any]) -> str:
    message: str = reply["exception"]["message"]
    return message


def test_get_state_of_a_new_vm_is_that_of_the_real_agent(scene: Scene) -> None:
    """Word for word what bosh-agent 2.874 with dummy jobs answered, but for its processes."""
    assert scene.ask("get_state")["value"] == {
        "properties": {"logging": {"max_log_file_size": ""}},
        "job": {"name": None, "release": "", "template": "", "version": "", "templates": None},
        "packages": {},
        "configuration_hash": "",
        "networks": {},
        "resource_pool": {},
        "deployment": "",
        "name": "",
        "index": None,
        "id": "",
        "az": "",
        "persistent_disk": 0,
        "rendered_templates_archive": None,
        "agent_id": "a",
        "job_state": "running",
        "vm": {"name": "vm-a"},
    }


def test_what_was_applied_comes_back_and_vitals_only_when_full(scene: Scene) -> None:
    """The spec survives the process; each job is a process; `full` adds vitals as strings."""
    assert scene.ask("apply", SPEC) == {"value": "applied"}
    plain, full = scene.ask("get_state")["value"], scene.ask("get_state", "full")["value"]
    assert {key: plain[key] for key in SPEC if key != "job"} == {
        key: value for key, value in SPEC.items() if key != "job"
    }
    assert [process["name"] for process in plain["processes"]] == ["gorouter"]
    assert "vitals" not in plain
    assert isinstance(full["vitals"]["mem"]["kb"], str)


def test_stopped_jobs_stay_stopped_over_a_restart(scene: Scene) -> None:
    """Every request here is a new life of the agent; monit remembers."""
    assert scene.ask("stop") == {"value": "stopped"}
    assert scene.ask("get_state")["value"]["job_state"] == "stopped"
    assert scene.ask("start") == {"value": "started"}
    assert scene.ask("get_state")["value"]["job_state"] == "running"


def test_the_texts_of_errors_are_those_of_the_real_agent(scene: Scene) -> None:
    """Directors look for them."""
    assert _message(scene.ask("nope")) == "unknown message nope"
    assert (
        _message(scene.ask("get_task", "x"))
        == "Action Failed get_task: Task with id x could not be found"
    )
    assert (
        _message(scene.ask("get_task"))
        == "Action Failed get_task: Extracting method arguments from payload: "
        "Not enough arguments, expected 1, got 0"
    )
    assert _message(scene.ask("drain", "update")).endswith("result: Drain update requires new spec")
    assert _message(scene.ask("mount_disk", "d1")).endswith(
        "Reading persistent disk settings: Persistent disk with volume id 'd1' could not be found"
    )


def test_draining_for_a_shutdown_tells_the_health_monitor(scene: Scene) -> None:
    """Nobody misses the agent then."""
    assert scene.ask("drain", "shutdown", SPEC) == {"value": 0}
    assert scene.published == [("shutdown", None)]


def test_failing_jobs_alert_the_health_monitor(scene: Scene) -> None:
    """The method that the real agent has with dummy jobs."""
    request = protocol.parse_request(
        b'{"method":"set_dummy_status","status":"failing","reply_to":"x"}'
    )
    host = AgentHost(
        scene.files,
        scene.files.told(),
        surroundings=scene.around,
        send=lambda topic, content: scene.published.append((topic, content)),
    )
    assert request is not None
    asyncio.run(actions.dispatch(host, AgentTasks(scene.files.tasks), request))
    assert host.jobs.state == "failing"
    assert [topic for topic, _ in scene.published] == ["alert"]


def test_a_disk_is_mounted_listed_migrated_and_unmounted(scene: Scene) -> None:
    """Data written to the first disk is on the second afterwards, at the same mount point."""
    first, second = scene.disk("d1"), scene.disk("d2")
    assert scene.ask("mount_disk", "d1") == {"value": {}}
    (scene.files.store / "data").write_text("kept")
    assert scene.ask("list_disk") == {"value": ["d1"]}
    assert scene.ask("list_disk", version=2) == {"value": ["d1"]}
    assert scene.ask("mount_disk", "d2") == {"value": {}}
    assert scene.ask("migrate_disk") == {"value": {}}
    assert scene.ask("list_disk") == {"value": ["d2"]}
    assert (second / "data").read_text() == (first / "data").read_text() == "kept"
    assert "Unmounted" in scene.ask("unmount_disk", "d2")["value"]["message"]
    assert "not mounted" in scene.ask("unmount_disk", "d2")["value"]["message"]


def test_new_credentials_are_stored_unchecked_and_end_the_process(scene: Scene) -> None:
    """Junk is as good as anything; the answer is given by the next life."""
    with pytest.raises(ProcessExit) as end:
        scene.ask("update_settings", {"trusted_certs": "t", "mbus": CREDENTIALS})
    assert end.value.code == 0
    stored = json.loads(scene.files.update_settings.read_text())
    assert stored["mbus"]["cert"] == CREDENTIALS["cert"]
    assert stored["trusted_certs"] == "t"
    assert scene.files.update_settings.stat().st_mode & 0o777 == 0o600


def test_an_old_agent_says_ok_and_keeps_its_credentials(tmp_path: Path) -> None:
    """Hazard H1: nothing tells that the message bus was ignored."""
    scene = Scene(tmp_path, Around(ignores_mbus=True))
    answer = scene.ask("update_settings", {"trusted_certs": "t", "mbus": CREDENTIALS})
    assert answer == {"value": "ok"}
    assert scene.files.told().update.trusted_certs == "t"
    assert scene.files.told().credentials.ca == ""


def test_a_crash_before_saving_loses_the_settings_once(tmp_path: Path) -> None:
    """Hazard H2: the task is recorded, the settings are not; the fault has healed then."""
    scene = Scene(tmp_path, Around(fault=AgentFault.CRASH_BEFORE_SAVE))
    with pytest.raises(ProcessExit):
        scene.ask("update_settings", {"mbus": CREDENTIALS})
    assert not scene.files.update_settings.exists()
    assert "update_settings" in scene.files.tasks.read_text()
    assert scene.around.fault is AgentFault.NONE


def test_an_unknown_disk_association_fails_the_task(scene: Scene) -> None:
    """As in the real agent, before anything is stored."""
    reply = scene.ask("update_settings", {"disk_associations": [{"name": "x", "cid": "d"}]})
    assert _message(reply).endswith(
        "Fetching disk settings: Persistent disk with volume id 'd' could not be found"
    )
    assert not scene.files.update_settings.exists()


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'"ping"', b"\xff"])
def test_what_is_no_request_gets_no_reply(payload: bytes) -> None:
    """The agent survives it."""
    assert protocol.parse_request(payload) is None


def test_a_reply_beyond_the_limit_becomes_an_error() -> None:
    """One MiB, as the agent has it; the error itself is cut too."""
    long = "x" * protocol.REPLY_LIMIT
    for reply in (protocol.value_reply(long), protocol.failure_reply(long)):
        assert json.loads(reply) == {
            "exception": {"message": "Response exceeded maximum allowed length"}
        }


def test_delays_between_attempts_grow_to_ten_seconds() -> None:
    """2, 4, 6, 8, 10, 10 …; a lab in a hurry divides them."""
    assert [AgentTiming().reconnect_delay(n) for n in range(1, 8)] == [2, 4, 6, 8, 10, 10, 10]
    assert AgentTiming().hurried(0.1).reconnect_delay(9) == 1
    assert AgentTiming().hurried(0.1).heartbeat_tries == 60
