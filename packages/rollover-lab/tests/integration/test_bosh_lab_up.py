"""A BOSH lab from its start to its end, and the documented procedures by hand in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bosh_interpolate import ManifestError, emit, interpolate, load_variables, read_ops_file
from bosh_interpolate.values import Tree
from rigs.bosh_lab import (
    NAMES,
    BoshLab,
    add_new_ca,
    bosh_lab,
    clean_up,
    eventually,
    every_agent_answers,
    in_a_hurry,
    pinging_of,
    remove_old_ca,
)
from rollover.codec.fleet_file import read_fleet
from rollover.errors import ExitCode, StaleError
from rollover.platforms.bosh.director_records import DeployExtent, TaskState
from rollover_lab import children, state
from rollover_lab.bosh import expiry, shape
from rollover_lab.bosh.create_env import CreateEnvStateFile, manifest_sha
from rollover_lab.bosh.lab import BoshLabSpec, create_env_call, find_agent, status, up
from rollover_lab.bosh.shape import DeploymentShape, GroupShape, Shape

COMMAND = (str(Path(sys.executable).parent / "rollover"),)
UNRESPONSIVE = "unresponsive agent"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoshLab]:
    """A lab whose shape has something of everything; no test changes its certificates."""
    groups = (
        GroupShape(name="router", instances=2),
        GroupShape(name="database", instances=1, persistent_disk_mb=1024),
        GroupShape(name="api", instances=3, ignored=1, stopped=1, detached=1),
    )
    shape = Shape(deployments=(DeploymentShape(name="cf", groups=groups, max_in_flight=3),))
    spec = BoshLabSpec(shape=shape, quick=True, resurrection=False)
    with bosh_lab(tmp_path_factory.mktemp("labs") / "lab", spec) as lab:
        yield lab


def _run(*words: str, lab: BoshLab) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*COMMAND, "lab", *words, "--directory", str(lab.layout.root)),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def test_what_runs_is_what_was_asked_for(lab: BoshLab) -> None:
    """Every instance is as its group says, and everybody who should answer does."""
    found = {
        (instance.group, instance.state, instance.ignore): instance.job_state
        for instance in lab.instances()
    }
    assert found == {
        ("router", "started", False): "running",
        ("database", "started", False): "running",
        ("api", "started", True): None,
        ("api", "stopped", False): "stopped",
        ("api", "detached", False): None,
    } | {key: value for key, value in found.items() if key == ("api", "started", True)}


def test_the_shape_of_a_director_is_read_through_its_api(lab: BoshLab) -> None:
    """A lab that is like this one has its groups, counts, disks, ignored and stopped ones."""
    read = shape.shape_of_director(lab.director)
    groups = {group.name: group for group in read.deployments[0].groups}
    assert read.instances == 6
    assert read.deployments[0].max_in_flight == "3"
    assert groups["database"].persistent_disk_mb > 0
    assert groups["router"].persistent_disk_mb == 0
    assert (groups["api"].ignored, groups["api"].stopped, groups["api"].detached) == (1, 1, 1)
    assert groups["router"].stemcell.version == "1.651"


def test_status_shows_the_director_vm_and_the_agents(lab: BoshLab) -> None:
    """Scripts get it as JSON; the exit code says whether it runs."""
    done = _run("status", "--output", "json", lab=lab)
    seen = json.loads(done.stdout)["lab"]
    assert done.returncode == 0, done.stderr
    assert seen["up"]
    assert {process["name"] for process in seen["director"] if process["running"]} == {
        "nats-server",
        "director",
        "health_monitor",
    }
    assert len(seen["vms"]) == 5


def test_a_second_lab_in_the_same_directory_is_refused(lab: BoshLab) -> None:
    """The one that runs is not touched."""
    with pytest.raises(StaleError, match="a lab runs in"):
        up(in_a_hurry(), lab.layout.root)
    assert status(lab.layout.root).up


def test_the_fleet_file_describes_this_director(lab: BoshLab) -> None:
    """It names the API, NATS, its monitoring port, the operator's command line and the CA."""
    described = read_fleet(lab.layout.fleet.read_bytes(), place="fleet.yml")
    assert described.director is not None
    assert described.director.environment == lab.director.access.url
    assert described.director.monitor is not None
    assert (lab.layout.root / str(described.director.create_env)).is_file()
    assert described.authorities[0].name == "nats_ca"


def test_the_operators_own_command_line_finds_nothing_to_do(lab: BoshLab) -> None:
    """Run once more, it leaves the director alone, and says so as bosh does."""
    before = lab.cloud.director_vm("status")
    done = subprocess.run(
        ("/bin/sh", "-c", f"{_last_line(lab.layout.create_env)} --tty"),
        cwd=lab.layout.root,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No deployment, stemcell or release changes. Skipping deploy.\n" in done.stdout
    assert lab.cloud.director_vm("status") == before


def test_an_agent_that_hangs_is_found_by_pings(lab: BoshLab) -> None:
    """Its pings are lost, those of the others are not; healed, it answers again."""
    agent = find_agent("cf/router/0", lab.layout, lab.cloud)
    with pinging_of(lab, timeout_seconds=5.0) as pings:
        every_agent_answers(lab, pings)
        assert _run("fault", "cf/router/0", "hung", lab=lab).returncode == 0
        eventually(lambda: pings.report().of(agent).lost >= 2)
        assert _run("fault", agent, "none", lab=lab).returncode == 0
        answered = pings.report().of(agent).answered
        eventually(lambda: pings.report().of(agent).answered > answered)
    report = pings.report()
    assert {agent_pings.agent for agent_pings in report.agents if agent_pings.lost} == {agent}
    assert report.of(agent).longest_silence_seconds > 2.0


def test_the_end_ends_exactly_the_processes_of_the_lab(tmp_path: Path) -> None:
    """Supervisor, NATS, director and health monitor are gone, a process beside them is not."""
    bystander = subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
    try:
        directory = tmp_path / "lab"
        layout = up(in_a_hurry(agents=1, deployments=1), directory)
        running = state.read(layout.lab.state).ids()
        assert len(running) == 4
        assert all(children.is_alive(process) for process in running)
        done = subprocess.run(
            (*COMMAND, "lab", "down", "--remove", "--directory", str(directory)),
            capture_output=True,
            text=True,
            timeout=1200,
            check=True,
        )
        assert "ended 4 processes" in done.stderr
        assert not any(children.is_alive(process) for process in running)
        assert not directory.exists()
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C while the director is being deployed ends what has been started, and cleans up."""
    directory = tmp_path / "lab"
    starting = subprocess.Popen(
        (*COMMAND, "lab", "up", "bosh", "--quick", "--directory", str(directory)),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: state.holds_bosh(directory / "lab.json"))
        eventually((directory / "vm" / "nats" / "nats.pid").exists)
        running = state.read(directory / "lab.json").ids()
        starting.send_signal(signal.SIGINT)
        _, said = starting.communicate(timeout=1200)
        assert starting.returncode == ExitCode.STOPPED, said
        assert not any(children.is_alive(process) for process in running)
        assert not directory.exists()
    finally:
        starting.kill()
        starting.communicate()


def test_the_documented_five_steps_by_hand(tmp_path: Path) -> None:
    """With every agent back before the next step, none is lost, and clean-up changes nothing."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=3, deployments=1)) as lab:
        add, remove = (
            lab.ops_file("add-new-ca.yml", add_new_ca()),
            lab.ops_file("remove-old-ca.yml", remove_old_ca()),
        )
        old = _nats_ca(lab)
        for step in (add, remove):
            said = lab.create_env(step)
            assert "Deleting VM 'vm-" in said
            eventually(lab.all_answer)
            lab.deploy()
            eventually(lab.all_answer)
        _clean(lab)
        assert "Skipping deploy." in lab.create_env()
        assert _nats_ca(lab) != old
        assert lab.all_answer()
        text = interpolate(
            lab.layout.manifest.read_bytes(),
            variables={
                **load_variables(lab.layout.variables.read_bytes()),
                **load_variables(lab.layout.credentials.read_bytes()),
            },
            all_found=True,
        )
        assert CreateEnvStateFile(lab.layout.state).now.current_manifest_sha == manifest_sha(text)


def test_a_joined_bundle_leaves_a_director_to_deploy_again(tmp_path: Path) -> None:
    """NATS does not start, create-env says so, and the next call with a sound one repairs it."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=1, deployments=1)) as lab:
        before = CreateEnvStateFile(lab.layout.state).now
        joined = lab.ops_file("joined.yml", _joined(lab))
        with pytest.raises(ManifestError) as caught:
            lab.create_env(joined)
        assert caught.value.report().startswith(
            "Deploying:\n  Received non-running job state: 'failing'"
        )
        left = CreateEnvStateFile(lab.layout.state).now
        assert (left.current_manifest_sha, left.releases) == ("", ())
        assert left.current_vm_cid not in ("", before.current_vm_cid)
        assert left.disks == before.disks
        assert "Finished deploying" in lab.create_env()
        assert (
            CreateEnvStateFile(lab.layout.state).now.current_manifest_sha
            == before.current_manifest_sha
        )
        eventually(lab.all_answer)


def test_an_expired_ca_cuts_agents_off_and_the_documented_way_out_works(tmp_path: Path) -> None:
    """Delete the four credentials, create-env, recreate with `--fix`; the disk's content stays."""
    spec = in_a_hurry(agents=2, deployments=1, persistent=1)
    with bosh_lab(tmp_path / "lab", spec) as lab:
        kept = _disk_file(lab)
        done = expiry.expire(lab.layout, lab.cloud, request=create_env_call(lab.layout))
        assert done.state_updated
        assert done.agents == 2
        eventually(lambda: lab.states() == {UNRESPONSIVE})
        assert "Skipping deploy." in lab.create_env()
        assert {certificate.days_left < 0 for certificate in lab.director.certificate_expiry()} == {
            True,
            False,
        }
        (name,) = lab.deployments()
        number = lab.director.deploy(name, lab.director.manifest(name))
        assert lab.ended(number) is TaskState.ERROR

        _forget(lab)
        lab.create_env()
        number = lab.director.recreate(name, DeployExtent(fix=True))
        assert lab.ended(number) is TaskState.DONE
        eventually(lab.all_answer)
        assert kept.read_text() == "precious"


def _last_line(path: Path) -> str:
    return path.read_text().splitlines()[-1]


def _nats_ca(lab: BoshLab) -> str:
    return str(load_variables(lab.layout.credentials.read_bytes())["nats_ca"])


def _clean(lab: BoshLab) -> None:
    """Do step 5 on the vars store."""
    store = lab.layout.credentials
    changes = read_ops_file(json.dumps(clean_up()).encode(), name="clean.yml")
    text = interpolate(
        store.read_bytes(), operations=changes, variables=load_variables(store.read_bytes())
    )
    store.write_text(text)


def _joined(lab: BoshLab) -> list[dict[str, object]]:
    """Return an operation that joins two PEM blocks on one line."""
    block = str(load_variables(lab.layout.credentials.read_bytes())["nats_ca"]["certificate"])  # type: ignore[index,call-overload]  # a certificate
    path = "/instance_groups/name=bosh/properties/nats/tls/ca"
    return [{"type": "replace", "path": path, "value": block.rstrip("\n") + block}]


def _forget(lab: BoshLab) -> None:
    """Delete the credentials of NATS from the vars store."""
    known = load_variables(lab.layout.credentials.read_bytes())
    kept: Tree = {name: value for name, value in known.items() if name not in NAMES}
    lab.layout.credentials.write_text(emit(kept))


def _disk_file(lab: BoshLab) -> Path:
    """Write something onto the one persistent disk."""
    (disk,) = (lab.layout.cloud / "disks").iterdir()
    path = disk / "data"
    path.write_text("precious")
    return path
