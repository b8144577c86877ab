"""Every request of the bosh CLI, replayed against the lab's director over HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rigs.bosh_director_rig import USER, YAML, DirectorRig, director_rig, manifest

JSON = {"Content-Type": "application/json"}
CLOUD_CONFIG = "vm_types: [{name: default}]\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorRig]:
    """Run a director with the deployment `zk`: one server with a disk, and an errand."""
    with director_rig(tmp_path_factory.mktemp("director")) as running:
        done = running.deploy(manifest(disk=64))
        assert done.task["state"] == "done", done.task
        yield running


@pytest.fixture
def server(rig: DirectorRig) -> dict[str, Any]:
    """Return the only server as `bosh instances` sees it."""
    (found,) = (instance for instance in rig.instances() if instance["job_name"] == "zookeeper")
    return found


def test_info_needs_no_password_and_says_who_asks(rig: DirectorRig) -> None:
    """With a wrong password nobody is logged in; every other path is closed then."""
    known = rig.get("/info")
    assert known["user"] == USER
    assert known["user_authentication"]["type"] == "basic"
    anonymous = rig.call("GET", "/info", auth=None)
    assert (anonymous.status_code, anonymous.json()["user"]) == (200, None)
    assert rig.call("GET", "/info", auth=(USER, "wrong")).json()["user"] is None


@pytest.mark.parametrize("auth", [None, (USER, "wrong"), ("nobody", "throw-away")])
def test_without_the_password_nothing_is_served(rig: DirectorRig, auth: Any) -> None:
    """The refusal is a text and names the path."""
    response = rig.call("GET", "/deployments", auth=auth)
    assert (response.status_code, response.text) == (401, "Not authorized: '/deployments'\n")
    assert response.headers["WWW-Authenticate"] == 'Basic realm="BOSH Director"'


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/deployments/none", 404, 70000),
        ("GET", "/deployments/none/vms", 404, 70000),
        ("PUT", "/deployments/none/jobs/*?state=recreate", 404, 70000),
        ("PUT", "/deployments/zk/jobs/zookeeper/99?state=recreate", 404, 70001),
        ("PUT", "/deployments/zk/jobs/zookeeper/nonsense?state=recreate", 400, 70002),
        ("PUT", "/deployments/zk/jobs/*?state=nonsense", 400, 40005),
        ("PUT", "/deployments/zk/jobs/*?state=stopped&recreate_vms_created_before=x", 400, 40005),
        ("GET", "/tasks/9999", 404, 10000),
        ("GET", "/tasks/1/output?type=nonsense", 401, 600000),
        ("GET", "/configs/9999", 404, 440012),
        ("GET", "/configs?limit=x", 400, 440010),
        ("POST", "/deployments?context=nonsense", 400, 40001),
        ("POST", "/configs", 400, 710001),
        ("PUT", "/resurrection", 400, 710001),
    ],
)
def test_refusals_have_the_numbers_of_bosh(
    rig: DirectorRig, method: str, path: str, status: int, code: int
) -> None:
    """`{"code", "description"}`, and the HTTP status that goes with it."""
    content = "{}" if method == "POST" else ""
    response = rig.call(method, path, content=content, headers=YAML)
    assert response.status_code == status, response.text
    assert response.json()["code"] == code
    assert response.json()["description"]


@pytest.mark.parametrize("path", ["/nothing", "/deployments/zk/nothing", "/task/1"])
def test_what_is_not_there_is_not_found(rig: DirectorRig, path: str) -> None:
    """As text, with the path."""
    response = rig.call("GET", path)
    assert (response.status_code, response.text) == (404, f"Endpoint '{path}' not found.")


def test_deployments_are_listed_with_what_they_use(rig: DirectorRig) -> None:
    """Without the cloud config when it is left out, as the CLI does."""
    (shown,) = rig.get("/deployments?exclude_configs=true")
    assert shown == {
        "name": "zk",
        "teams": [],
        "stemcells": [{"name": "bosh-lab-ubuntu-jammy-go_agent", "version": "1.500"}],
        "releases": [{"name": "zookeeper", "version": "0.0.10"}],
        "locked": False,
    }
    assert rig.get("/deployments")[0]["cloud_config"] in {"none", "outdated"}


def test_a_manifest_comes_back_as_it_was(rig: DirectorRig) -> None:
    """To the octet."""
    assert rig.get("/deployments/zk") == {"manifest": manifest(disk=64)}


def test_vms_are_listed_as_nats_sync_wants_them(rig: DirectorRig) -> None:
    """With the flag that decides about bootstrap users."""
    (shown,) = rig.get("/deployments/zk/vms")
    assert shown["permanent_nats_credentials"] is True
    assert shown["active"] is True
    assert set(shown) == {
        *("agent_id", "cid", "job", "index", "id", "az", "ips", "vm_created_at"),
        *("active", "permanent_nats_credentials"),
    }


def test_instances_are_listed_as_the_health_monitor_wants_them(rig: DirectorRig) -> None:
    """Errands expect no VM."""
    shown = {
        instance["job"]: instance["expects_vm"] for instance in rig.get("/deployments/zk/instances")
    }
    assert shown == {"zookeeper": True, "smoke": False}


@pytest.mark.parametrize(("what", "count"), [("vms", 1), ("instances", 2)])
def test_full_listings_take_a_task(rig: DirectorRig, what: str, count: int) -> None:
    """One line for each, with what its agent says."""
    done = rig.run("GET", f"/deployments/zk/{what}?format=full")
    assert done.task["description"] == "retrieve vm-stats"
    assert len(done.results) == count
    (line,) = (result for result in done.results if result["job_name"] == "zookeeper")
    assert (line["job_state"], line["state"], line["ignore"]) == ("running", "started", False)
    assert line["vitals"]["mem"]["kb"]
    assert line["processes"][0]["state"] == "running"
    assert line["disk_cids"] == [line["disk_cid"]]
    assert line["stemcell"]["version"] == "1.500"


def test_a_task_is_redirected_to_and_shown(rig: DirectorRig) -> None:
    """The location is absolute; times appear when they are known."""
    response = rig.call("GET", "/deployments/zk/vms?format=full")
    assert response.status_code == 302
    number = int(response.headers["Location"].removeprefix(f"{rig.url}/tasks/"))
    task = rig.ended(number).task
    assert task | {"timestamp": 0, "started_at": 0} == {
        "id": number,
        "state": "done",
        "description": "retrieve vm-stats",
        "timestamp": 0,
        "started_at": 0,
        "result": "",
        "user": USER,
        "deployment": "zk",
        "context_id": "",
    }


def test_the_events_of_a_deploy_pair_up(rig: DirectorRig) -> None:
    """Every started step has ended, by stage, tags and task."""
    events = rig.output(1, "event")
    keys = [(e["state"], e["stage"], tuple(e["tags"]), e["task"]) for e in events if "stage" in e]
    started = {key[1:] for key in keys if key[0] == "started"}
    assert started == {key[1:] for key in keys if key[0] == "finished"}
    stages = list(dict.fromkeys(key[1] for key in keys))
    assert stages == [
        "Preparing deployment",
        "Preparing package compilation",
        "Creating missing vms",
        "Updating instance",
    ]
    statuses = [e["data"]["status"] for e in events if e.get("state") == "in_progress"]
    assert statuses[:2] == ["executing pre-stop", "executing drain"]
    assert statuses[-1] == "executing post-start"


def test_output_honours_range(rig: DirectorRig) -> None:
    """206 with the rest, 416 at the end, 200 with everything without a range."""
    path = "/tasks/1/output?type=event"
    whole = rig.call("GET", path)
    assert whole.status_code == 200
    size = len(whole.content)
    part = rig.call("GET", path, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    past = rig.call("GET", path, headers={"Range": f"bytes={size}-"})
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{size}")
    middle = rig.call("GET", path, headers={"Range": "bytes=3-5"})
    assert middle.content == whole.content[3:6]


def test_events_can_be_followed_while_a_task_runs(rig: DirectorRig) -> None:
    """Read piece by piece as the CLI does, they are what is there in the end."""
    number = rig.begin("PUT", "/deployments/zk/jobs/*?state=restart", headers=YAML)
    seen = b""
    running = True
    while running:
        running = rig.get(f"/tasks/{number}")["state"] in {"queued", "processing"}
        headers = {"Range": f"bytes={len(seen)}-"}
        part = rig.call("GET", f"/tasks/{number}/output?type=event", headers=headers)
        assert part.status_code in {206, 204, 416}
        seen += part.content if part.status_code == 206 else b""
    assert seen == rig.call("GET", f"/tasks/{number}/output?type=event").content
    assert [json.loads(line) for line in seen.splitlines()][-1]["state"] == "finished"


def test_outputs_that_were_not_written_are_empty(rig: DirectorRig) -> None:
    """204, as for the type `none`; the debug output is there from the start."""
    number = rig.ended(rig.begin("GET", "/deployments/zk/vms?format=full")).task["id"]
    for kind in ("event", "cpi", "none"):
        assert rig.call("GET", f"/tasks/{number}/output?type={kind}").status_code == 204
    assert f"Enqueuing task: {number}" in rig.call("GET", f"/tasks/{number}/output").text
    assert "create_vm" in rig.call("GET", "/tasks/1/output?type=cpi").text


def test_no_output_holds_a_key(rig: DirectorRig) -> None:
    """Neither what agents are sent nor what the cloud is told."""
    for path in (rig.folder / "store" / "tasks").rglob("*"):
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes(), path
    assert "PRIVATE KEY" not in rig.log("director")


def test_tasks_are_listed_by_state_kind_and_deployment(rig: DirectorRig) -> None:
    """Listings of VMs only with `verbose=2`; the newest first."""
    rig.run("GET", "/deployments/zk/vms?format=full")
    every = rig.get("/tasks?verbose=2&limit=30&deployment=zk")
    assert [task["id"] for task in every] == sorted((task["id"] for task in every), reverse=True)
    assert "retrieve vm-stats" in {task["description"] for task in every}
    assert {e["description"] for e in rig.get("/tasks?verbose=1")} <= {
        *("create deployment", "create deployment (dry run)", "restart instance"),
        *("run errand smoke from deployment zk", "recreate instance", "stop instance"),
        *("start instance", "delete deployment new"),
    }
    assert rig.get("/tasks?state=processing,cancelling,queued&verbose=2") == []
    assert rig.get("/tasks?verbose=2&deployment=none") == []


def test_a_context_id_is_kept_with_its_task(rig: DirectorRig) -> None:
    """And may not be long."""
    headers = YAML | {"X-Bosh-Context-Id": "mine"}
    path = "/deployments/zk/jobs/*?state=started&dry_run=true"
    number = rig.begin("PUT", path, headers=headers)
    assert rig.ended(number).task["description"] == "create deployment (dry run)"
    assert [task["id"] for task in rig.get("/tasks?context_id=mine")] == [number]
    headers["X-Bosh-Context-Id"] = "x" * 65
    response = rig.call("PUT", path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, 70010)


def test_ended_tasks_cannot_be_cancelled(rig: DirectorRig) -> None:
    """The call for many passes over them."""
    response = rig.call("DELETE", "/task/1")
    assert response.status_code == 400
    assert response.text == "Cannot cancel task 1: invalid state (done)"
    for body in ({}, {"states": ["queued", "processing"], "deployment": "zk"}):
        assert rig.call("POST", "/tasks/cancel", json=body).status_code == 204
    wrong = rig.call("POST", "/tasks/cancel", json={"states": ["done"]})
    assert wrong.status_code == 400


def test_stemcells_and_releases_are_listed(rig: DirectorRig) -> None:
    """With the deployments that use them."""
    (stemcell,) = rig.get("/stemcells")
    assert stemcell["operating_system"] == "ubuntu-jammy"
    assert stemcell["deployments"] == [{"name": "zk"}]
    (release,) = rig.get("/releases")
    (version,) = release["release_versions"]
    assert (release["name"], version["version"]) == ("zookeeper", "0.0.10")
    assert version["currently_deployed"] is True
    assert version["job_names"] == ["zookeeper", "smoke-tests"]


def test_configs_are_kept_listed_compared_and_deleted(rig: DirectorRig) -> None:
    """As `bosh update-config`, `configs`, `diff-config`, `delete-config` need it."""
    new = {"type": "cloud", "name": "default", "content": CLOUD_CONFIG}
    asked = rig.call("POST", "/configs/diff", json=new)
    assert asked.json()["diff"] == [["vm_types:", "added"], ["- name: default", "added"]]
    made = rig.call("POST", "/configs", json=new)
    assert made.status_code == 201
    assert made.json()["current"] is True
    shown = rig.get("/configs?latest=true&limit=1&type=cloud&name=default")
    assert [(config["id"], config["content"]) for config in shown] == [
        (made.json()["id"], CLOUD_CONFIG)
    ]
    assert rig.get(f"/configs/{made.json()['id']}")["name"] == "default"
    stale = rig.call("POST", "/configs", json=new | {"content": "a: 1", "expected_latest_id": "7"})
    assert stale.status_code == 412
    sides = {"from": {"content": "a: 1"}, "to": {"id": made.json()["id"], "content": ""}}
    assert ["a: 1", "removed"] in rig.call("POST", "/configs/diff", json=sides).json()["diff"]
    assert rig.get("/cloud_configs?limit=1")[0]["properties"] == CLOUD_CONFIG
    assert rig.get("/runtime_configs?name=&limit=1") == []
    assert rig.call("DELETE", "/configs?type=cloud&name=default").status_code == 204
    assert rig.call("DELETE", "/configs?type=cloud&name=default").status_code == 404
    bad = rig.call("POST", "/configs", json=new | {"content": "- a"})
    assert (bad.status_code, bad.json()["code"]) == (400, 440011)
    assert rig.get("/configs?latest=true&limit=1&type=deploy") == []


def test_a_diff_shows_what_a_manifest_would_change(rig: DirectorRig) -> None:
    """Nothing for the same one, everything for a deployment that is not there; no values."""
    path = "/deployments/zk/diff?redact=true"
    same = rig.call("POST", path, content=manifest(disk=64), headers=YAML).json()
    assert same == {"context": {"cloud_config_ids": [], "runtime_config_ids": []}, "diff": []}
    other = rig.call("POST", path, content=manifest(disk=64, size=5), headers=YAML).json()
    assert ["      size: <redacted>", "added"] in other["diff"]
    new = rig.call("POST", "/deployments/new/diff", content=manifest("new"), headers=YAML).json()
    assert {status for text, status in new["diff"] if text} == {"added"}


def test_variables_and_errands_are_those_of_the_manifest(rig: DirectorRig) -> None:
    """Variables by their absolute names."""
    assert rig.get("/deployments/zk/variables") == [{"id": "1", "name": "/lab/zk/password"}]
    assert rig.get("/deployments/zk/errands") == [{"name": "smoke"}]


@pytest.mark.parametrize("keep_alive", [False, True])
def test_an_errand_runs_on_a_vm_of_its_own(rig: DirectorRig, *, keep_alive: bool) -> None:
    """Which goes afterwards, unless it is to be kept."""
    body = {"instances": [], "keep-alive": keep_alive, "when-changed": False}
    done = rig.run("POST", "/deployments/zk/errands/smoke/runs", json=body)
    assert done.task["result"] == "1 succeeded, 0 errored, 0 canceled"
    (result,) = done.results
    assert (result["exit_code"], result["stdout"]) == (0, "smoke-tests\n")
    (smoke,) = (instance for instance in rig.instances() if instance["job_name"] == "smoke")
    assert bool(smoke["vm_cid"]) is keep_alive
    if keep_alive:
        rig.run("POST", "/deployments/zk/errands/smoke/runs", json=body | {"keep-alive": False})


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("jobs/*?state=restart", {"Updating instance"}),
        ("jobs/zookeeper?state=recreate&fix=true&canaries=0&max_in_flight=100%25", None),
        ("jobs/zookeeper/0?state=restart&skip_drain=true", {"Updating instance"}),
    ],
)
def test_changes_of_state_converge_the_deployment(
    rig: DirectorRig, path: str, stages: set[str] | None
) -> None:
    """With the last manifest; the instance runs again afterwards."""
    done = rig.run("PUT", f"/deployments/zk/{path}", headers=YAML)
    assert (done.task["state"], done.task["description"]) == ("done", "create deployment")
    assert (stages or {"Updating instance"}) <= {stage for stage, _ in done.steps()}
    labels = [task for stage, task in done.steps() if stage == "Updating instance"]
    assert ("(canary)" in labels[0]) is ("canaries=0" not in path)
    skipped = "skipped pre-stop & drain" in json.dumps(done.events)
    assert skipped is ("skip_drain" in path)


@pytest.mark.parametrize("action", ["stop", "start", "restart", "recreate"])
def test_actions_touch_one_instance(rig: DirectorRig, server: dict[str, Any], action: str) -> None:
    """`--no-converge`; only `recreate` makes a new VM."""
    path = f"/deployments/zk/instance_groups/zookeeper/{server['id']}/actions/{action}"
    done = rig.run("POST", f"{path}?ignore_unresponsive_agent=true")
    assert (done.task["state"], done.task["description"]) == ("done", f"{action} instance")
    (after,) = (instance for instance in rig.instances() if instance["id"] == server["id"])
    assert (after["agent_id"] == server["agent_id"]) is (action != "recreate")
    assert after["disk_cid"] == server["disk_cid"]
    assert after["state"] == ("stopped" if action == "stop" else "started")
    rig.run("POST", path.replace(f"actions/{action}", "actions/start"))


def test_ignored_instances_say_so_and_cannot_be_changed(
    rig: DirectorRig, server: dict[str, Any]
) -> None:
    """Neither by a change of state nor by an action; afterwards they can again."""
    path = f"/deployments/zk/instance_groups/zookeeper/{server['id']}/ignore"
    assert rig.call("PUT", path, json={"ignore": True}).status_code == 200
    try:
        shown = [instance for instance in rig.instances() if instance["ignore"]]
        assert [instance["id"] for instance in shown] == [server["id"]]
        state = f"/deployments/zk/jobs/zookeeper/{server['id']}?state=recreate"
        done = rig.run("PUT", state, headers=YAML)
        assert done.events[-1]["error"]["code"] == 140021
        action = rig.run("POST", path.replace("/ignore", "/actions/restart"))
        assert action.events[-1]["error"]["code"] == 190020
    finally:
        assert rig.call("PUT", path, json={"ignore": False}).status_code == 200


def test_certificate_expiry_lists_what_the_real_one_lists(rig: DirectorRig) -> None:
    """Neither NATS's own nor the agents'."""
    shown = rig.get("/director/certificate_expiry")
    assert [certificate["certificate_path"] for certificate in shown] == [
        "director.ssl.cert",
        "nats.tls.ca",
        "nats.tls.client_ca.certificate",
        "nats.tls.director.certificate",
    ]
    assert all(
        certificate["days_left"] > 0 and certificate["expiry"].endswith("Z")
        for certificate in shown
    )


def test_resurrection_is_paused_and_then_refuses(rig: DirectorRig) -> None:
    """The resurrector's call is answered 410004 then."""
    assert rig.get("/resurrection") == {"resurrection": True}
    assert rig.call("PUT", "/resurrection", json={"resurrection_paused": True}).status_code == 200
    response = rig.call("PUT", "/deployments/zk/scan_and_fix", json={"jobs": {}})
    assert (response.status_code, response.json()["code"]) == (400, 410004)
    rig.call("PUT", "/resurrection", json={"resurrection_paused": False})
    assert rig.instances()[0]["resurrection_paused"] is False


def test_events_say_who_did_what(rig: DirectorRig) -> None:
    """They can be filtered, and asked for one by one."""
    found = rig.get("/events?deployment=zk&object_type=deployment&action=create")
    assert [(event["object_name"], event["user"]) for event in found] == [("zk", USER)]
    assert rig.get(f"/events/{found[0]['id']}") == found[0]
    assert rig.call("GET", "/events/99999").status_code == 404


def test_a_deployment_comes_and_goes(rig: DirectorRig) -> None:
    """Its VMs go with it."""
    assert rig.deploy(manifest("new")).task["result"] == "/deployments/new"
    done = rig.run("DELETE", "/deployments/new?force=true")
    assert done.task["state"] == "done"
    assert [deployment["name"] for deployment in rig.get("/deployments")] == ["zk"]
    assert len(rig.cloud.vms()) == 1


def test_a_healthy_deployment_has_no_problems(rig: DirectorRig) -> None:
    """A scan says how many are fine."""
    done = rig.run("POST", "/deployments/zk/scans")
    assert ("Scanning 1 VMs", "1 OK, 0 unresponsive, 0 missing, 0 unbound") in done.steps()
    assert rig.get("/deployments/zk/problems") == []
    done = rig.run("PUT", "/deployments/zk/problems", json={"resolutions": {}})
    assert done.task["result"] == "0 resolved"


def test_a_file_of_secrets_is_nobody_elses(rig: DirectorRig) -> None:
    """The database, its side files and all outputs are for the owner only."""
    for path in (rig.folder / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
