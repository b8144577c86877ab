"""The lab's director gives agents credentials, or does not, exactly as the real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rigs.bosh_director_rig import SLOWER_PACE, YAML, Authority, DirectorRig, director_rig, manifest
from rigs.bosh_nats_rig import wait_until

IN_PLACE = [
    "get_state",
    "prepare",
    "run_script pre-stop",
    "drain",
    "stop",
    "run_script post-stop",
    "update_settings",
    "apply",
    "run_script pre-start",
    "start",
    "get_state",
    "run_script post-start",
    "run_script post-deploy",
]
REAL_PACE = 1.0
"""An agent that restarts is away for much longer than the director takes to poll again."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DirectorRig]:
    """Run a director without deployments."""
    with director_rig(tmp_path) as running:
        yield running


@pytest.fixture
def slower(tmp_path: Path) -> Iterator[DirectorRig]:
    """The same, with agents that take their time to restart."""
    with director_rig(tmp_path, pace=SLOWER_PACE) as running:
        yield running


def deployed(rig: DirectorRig, text: str) -> list[dict[str, Any]]:
    """Deploy a manifest; return its servers."""
    done = rig.deploy(text)
    assert done.task["state"] == "done", done.events[-1]
    return servers(rig)


def servers(rig: DirectorRig) -> list[dict[str, Any]]:
    """Return the instances that are no errands, by index."""
    found = [instance for instance in rig.instances() if instance["job_name"] == "zookeeper"]
    return sorted(found, key=lambda server: server["index"])


def both_trusted(rig: DirectorRig) -> Authority:
    """Do step 1: a new CA signs, both are trusted. Return the new one."""
    new = Authority()
    rig.trust(rig.old, new)
    rig.render(signer=new, server=rig.old, clients=new)
    rig.restart()
    all_answer(rig)
    return new


def all_answer(rig: DirectorRig) -> None:
    """Wait until every agent answers the director again (H13)."""

    def answer() -> bool:
        return all(server["job_state"] in {"running", "stopped"} for server in servers(rig))

    wait_until(answer, "all agents answer", seconds=120)


def sent(rig: DirectorRig, number: int, server: dict[str, Any]) -> list[str]:
    """Return what a task sent to a server's agent."""
    return rig.messages(number, server["agent_id"])


def path_of(server: dict[str, Any], state: str) -> str:
    """Return the request that changes a server's state."""
    return f"/deployments/zk/jobs/zookeeper/{server['id']}?state={state}"


def test_a_ca_is_rotated_in_four_steps_without_new_vms(rig: DirectorRig) -> None:
    """Both trusted, deploy, only the new one trusted, deploy: the same agents all the time."""
    before = deployed(rig, manifest(instances=2))
    first = rig.connected()
    new = both_trusted(rig)
    assert rig.connected() == first
    round_one = rig.deploy(manifest(instances=2))
    assert round_one.task["state"] == "done"
    for server in before:
        assert sent(rig, round_one.task["id"], server) == IN_PLACE
    second = rig.connected()
    assert all(second[name] != first[name] for name in first)
    rig.trust(new)
    rig.render(signer=new, server=new, clients=new)
    rig.restart()
    all_answer(rig)
    assert rig.deploy(manifest(instances=2)).steps()[-1][0] == "Updating instance"
    assert [server["agent_id"] for server in servers(rig)] == [
        server["agent_id"] for server in before
    ]
    again = rig.deploy(manifest(instances=2))
    assert "Updating instance" not in {stage for stage, _ in again.steps()}


def test_the_status_poll_that_an_agent_misses_costs_the_whole_timeout(tmp_path: Path) -> None:
    """What is 46 s in the field is the timeout here: only then the director asks again."""
    with director_rig(tmp_path, pace=REAL_PACE) as rig:
        (server,) = deployed(rig, manifest())
        both_trusted(rig)
        done = rig.deploy(manifest())
        assert done.task["state"] == "done", done.events[-1]
        debug = rig.call("GET", f"/tasks/{done.task['id']}/output").text
        missed = unanswered_polls(debug, server["agent_id"])
        assert missed
        assert min(missed) >= rig.timing.get_task_timeout


def unanswered_polls(debug: str, agent_id: str) -> list[float]:
    """Return how long the director waited for each `get_task` that was not answered, in seconds."""
    spoken = re.findall(rf"\[(\S+)\] (SENT|RECEIVED): agent\.{agent_id} (\S+)", debug)
    return [
        (datetime.fromisoformat(again) - datetime.fromisoformat(asked)).total_seconds()
        for (asked, *first), (again, *second) in pairwise(spoken)
        if first == second == ["SENT", "get_task"]
    ]


def test_a_dead_agent_fails_the_whole_deploy_before_anything_changes(rig: DirectorRig) -> None:
    """At `get_state`, with the text of the reference; `--fix` recreates that VM only."""
    alive, dead = deployed(rig, manifest(instances=2, disk=10))
    both_trusted(rig)
    rig.cloud.fault(dead["agent_id"], "dead")
    failed = rig.deploy(manifest(instances=2, disk=10))
    name = f"zookeeper/{dead['id']}"
    error = failed.events[-1]["error"]
    assert error["code"] == 450002
    assert error["message"] == (
        f"{name}: Timed out sending 'get_state' to instance: '{name}', "
        f"agent-id: '{dead['agent_id']}' after {rig.timing.get_state_timeout:g} seconds"
    )
    assert sent(rig, failed.task["id"], alive) == ["get_state"]
    fixed = rig.deploy(manifest(instances=2, disk=10), "?fix=true")
    assert fixed.task["state"] == "done", fixed.events[-1]
    assert sent(rig, fixed.task["id"], alive) == IN_PLACE
    assert sent(rig, fixed.task["id"], dead) == ["get_state"] * 3
    after = servers(rig)
    assert after[0]["agent_id"] == alive["agent_id"]
    assert after[1]["agent_id"] != dead["agent_id"]
    assert after[1]["vm_cid"] != dead["vm_cid"]
    assert after[1]["disk_cid"] == dead["disk_cid"]


def test_ignored_and_stopped_instances_keep_their_old_credentials(rig: DirectorRig) -> None:
    """H5: one is not asked, the other returns before `update_settings`; the deploy is green."""
    ignored, stopped, other = deployed(rig, manifest(instances=3))
    rig.run("PUT", path_of(stopped, "stopped"), headers=YAML)
    path = f"/deployments/zk/instance_groups/zookeeper/{ignored['id']}/ignore"
    rig.call("PUT", path, json={"ignore": True})
    both_trusted(rig)
    before = rig.connected()
    done = rig.deploy(manifest(instances=3))
    assert done.task["state"] == "done"
    warning = "You have ignored instances. They will not be changed."
    assert warning in [event.get("message") for event in done.events]
    assert sent(rig, done.task["id"], ignored) == []
    assert sent(rig, done.task["id"], stopped) == ["get_state", "prepare"]
    after = rig.connected()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if other["agent_id"] in name}


def test_an_agent_too_old_for_it_answers_ok_and_keeps_what_it_has(tmp_path: Path) -> None:
    """H1: the deploy is green, and the director believes it.

    Such an agent keeps what it was born with, so bootstrap credentials must not be short-lived.
    """

    def prepare(rig: DirectorRig) -> None:
        rig.changes["short_lived_bootstrap_credentials"] = False

    old = manifest().replace("ubuntu-jammy", "ubuntu-xenial").replace("1.500", "621.1")
    with director_rig(tmp_path, prepare=prepare) as rig:
        deployed(rig, old)
        both_trusted(rig)
        before = rig.connected()
        assert all(".bootstrap.agent." in name for name in before)
        assert rig.deploy(old).task["state"] == "done"
        assert rig.connected() == before
        again = rig.deploy(old)
        assert "Updating instance" not in {stage for stage, _ in again.steps()}


def test_a_change_of_dns_hides_the_change_of_credentials(rig: DirectorRig) -> None:
    """H3: exactly {dns, nats_config}: only the next deploy does the rest."""
    (server,) = deployed(rig, manifest())
    both_trusted(rig)
    before = rig.connected()
    renamed = manifest(provides="{peers: {as: others}}")
    first = rig.deploy(renamed)
    assert first.task["state"] == "done"
    assert "update_settings" not in sent(rig, first.task["id"], server)
    assert rig.connected() == before
    second = rig.deploy(renamed)
    assert "update_settings" in sent(rig, second.task["id"], server)
    assert rig.connected() != before


def test_a_deploy_that_fails_half_way_leaves_both_states_and_the_old_manifest(
    slower: DirectorRig,
) -> None:
    """H6: the canary is new, the rest old; what was deployed last stays the manifest."""
    text = manifest(instances=2)
    first, second = deployed(slower, text)
    both_trusted(slower)
    before = slower.connected()
    slower.cloud.fault(second["agent_id"], "slow")
    failed = slower.deploy(manifest(instances=2, size=2))
    assert failed.task["state"] == "error"
    assert "Timed out sending 'get_task'" in failed.events[-1]["error"]["message"]
    assert [task for _, task in failed.steps("failed")] == [f"zookeeper/{second['id']} (1)"]
    after = slower.connected()
    for name in before:
        if first["agent_id"] in name:
            assert after[name] != before[name]
    assert slower.get("/deployments/zk")["manifest"] == text


def test_hard_stopped_instances_come_back_with_new_credentials(rig: DirectorRig) -> None:
    """Their VM goes, their disk stays, and a new VM is made at the next start."""
    (server,) = deployed(rig, manifest(disk=10))
    rig.run("PUT", path_of(server, "detached"), headers=YAML)
    (gone,) = servers(rig)
    assert (gone["state"], gone["vm_cid"], gone["job_state"]) == ("detached", None, None)
    assert rig.cloud.vms() == ()
    assert rig.deploy(manifest(disk=10)).task["state"] == "done"
    assert servers(rig)[0]["state"] == "detached"
    done = rig.run("PUT", path_of(server, "started"), headers=YAML)
    assert ("Creating missing vms", f"zookeeper/{server['id']} (0)") in done.steps()
    (back,) = servers(rig)
    assert (back["job_state"], back["disk_cid"]) == ("running", server["disk_cid"])


def test_a_restart_without_converging_does_not_rotate(rig: DirectorRig) -> None:
    """A restart that converges does."""
    (server,) = deployed(rig, manifest())
    both_trusted(rig)
    path = f"/deployments/zk/instance_groups/zookeeper/{server['id']}/actions/restart"
    done = rig.run("POST", path)
    assert "update_settings" not in sent(rig, done.task["id"], server)
    done = rig.run("PUT", path_of(server, "restart"), headers=YAML)
    assert "update_settings" in sent(rig, done.task["id"], server)


def test_an_unresponsive_vm_is_found_and_recreated(rig: DirectorRig) -> None:
    """Cloud check names it and offers what to do; the resurrector's call does it by itself."""
    (server,) = deployed(rig, manifest())
    rig.cloud.fault(server["agent_id"], "hung")
    rig.run("POST", "/deployments/zk/scans")
    (problem,) = rig.get("/deployments/zk/problems")
    assert (problem["type"], problem["instance_group"]) == ("unresponsive_agent", "zookeeper")
    assert {"name": "recreate_vm", "plan": "Recreate VM and wait for processes to start"} in (
        problem["resolutions"]
    )
    resolutions = {"resolutions": {str(problem["id"]): "recreate_vm"}}
    done = rig.run("PUT", "/deployments/zk/problems", json=resolutions)
    assert done.task["result"] == "1 resolved"
    (after,) = servers(rig)
    assert (after["job_state"], after["agent_id"] != server["agent_id"]) == ("running", True)
    rig.cloud.delete_vm(after["vm_cid"])
    jobs = {"jobs": {"zookeeper": [server["id"]]}}
    done = rig.run("PUT", "/deployments/zk/scan_and_fix", json=jobs)
    assert done.task["result"] == "scan and fix complete"
    assert servers(rig)[0]["job_state"] == "running"


def test_workers_bound_how_much_runs_at_once(tmp_path: Path) -> None:
    """With one worker a second deploy waits; it can be cancelled there; listings go on."""

    def prepare(rig: DirectorRig) -> None:
        rig.changes["workers"] = 1
        rig.timing = msgspec.structs.replace(rig.timing, get_state_timeout=2.0, list_timeout=0.2)

    with director_rig(tmp_path, prepare=prepare) as rig:
        (server,) = deployed(rig, manifest())
        rig.cloud.fault(server["agent_id"], "hung")
        slow = rig.begin("PUT", "/deployments/zk/jobs/*?state=restart", headers=YAML)
        waiting = rig.begin("PUT", "/deployments/zk/jobs/*?state=restart", headers=YAML)
        wait_until(lambda: bool(rig.get("/locks")), "the first one holds the lock")
        (lock,) = rig.get("/locks")
        shown = (lock["type"], lock["resource"], lock["task_id"])
        assert shown == ("deployment", ["zk"], str(slow))
        assert rig.get("/deployments")[0]["locked"] is True
        assert servers(rig)[0]["job_state"] == "unresponsive agent"
        assert rig.get(f"/tasks/{waiting}")["state"] == "queued"
        assert rig.call("DELETE", f"/task/{waiting}").status_code == 204
        assert rig.ended(slow).task["state"] == "error"
        cancelled = rig.ended(waiting)
        assert cancelled.task["state"] == "cancelled"
        error = {"code": 10001, "message": f"Task {waiting} cancelled"}
        assert cancelled.events[-1]["error"] == error


def test_a_running_deploy_stops_between_groups_when_it_is_cancelled(rig: DirectorRig) -> None:
    """What was begun is finished, what was not is left; the task says that it was cancelled."""
    (server,) = deployed(rig, manifest())
    rig.cloud.fault(server["agent_id"], "hung")
    path = "/deployments/zk/jobs/*?state=recreate&fix=true"
    number = rig.begin("PUT", path, headers=YAML)
    wait_until(lambda: bool(rig.get("/locks")), "it runs")
    assert rig.call("DELETE", f"/task/{number}").status_code == 204
    done = rig.ended(number)
    assert (done.task["state"], done.task["result"]) == ("cancelled", "task cancelled")
    assert servers(rig)[0]["agent_id"] == server["agent_id"]


def test_without_nats_for_too_long_the_director_ends(rig: DirectorRig) -> None:
    """After four attempts; whoever watches over it starts a new one, which serves again."""
    deployed(rig, manifest())
    rig.stop("nats")
    assert rig.wait_for_end("director") == 3
    rig.start()
    all_answer(rig)


def test_a_short_lived_deployment_comes_and_goes(tmp_path: Path) -> None:
    """The health check deploys `bosh-health-N` and deletes it again."""

    def prepare(rig: DirectorRig) -> None:
        rig.changes["health_check"] = 0.5

    with director_rig(tmp_path, prepare=prepare) as rig:
        done = {"create deployment", "delete deployment bosh-health-1"}

        def came_and_went() -> bool:
            tasks = rig.get("/tasks?verbose=2")
            ours = [task for task in tasks if task["deployment"] == "bosh-health-1"]
            return {task["description"] for task in ours if task["state"] == "done"} == done

        wait_until(came_and_went, "it came and went", seconds=120)
