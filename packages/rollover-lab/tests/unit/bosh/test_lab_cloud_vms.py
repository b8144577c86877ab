"""The lab's cloud: VMs and disks are made, found again, and removed; nothing needs a NATS."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigs.bosh_nats_rig import BoshAuthority, cloud_process, settings, wait_until
from rollover.errors import NotFound, Rejected, Unreachable
from rollover_lab.bosh.agent.host import AgentFault
from rollover_lab.bosh.cloud.client import CloudVm, LabCloud, ignores_mbus
from rollover_lab.bosh.layout import CloudLayout
from rollover_lab.lifecycle import end_processes
from rollover_lab.state import LabDirectory

CA = BoshAuthority()
NOWHERE = "nats://127.0.0.1:1"
JAMMY = {"name": "bosh-warden-boshlite-ubuntu-jammy-go_agent", "version": "1.406"}


def _create(cloud: LabCloud, agent_id: str, given: dict[str, Any] | None = None) -> str:
    told = given or settings(agent_id, NOWHERE, CA, (CA,))
    return cloud.create_vm(agent_id=agent_id, settings=told, stemcell=JAMMY)


def _vm(cloud: LabCloud, agent_id: str) -> CloudVm:
    return next(vm for vm in cloud.vms() if vm.agent_id == agent_id)


def test_a_vm_comes_and_goes_with_its_directory(tmp_path: Path) -> None:
    """Its files are private; when it is deleted they are gone."""
    with cloud_process(tmp_path) as cloud:
        cid = _create(cloud, "a")
        places = CloudLayout(tmp_path).vm(cid)
        wait_until(lambda: _vm(cloud, "a").running, "the agent runs")
        assert cloud.has_vm(cid)
        assert places.agent.settings.stat().st_mode & 0o777 == 0o600
        assert places.root.stat().st_mode & 0o077 == 0
        cloud.delete_vm(cid)
        assert not cloud.has_vm(cid)
        assert not places.root.exists()
        assert cloud.vms() == ()


def test_vms_faults_and_disks_survive_the_supervisor(tmp_path: Path) -> None:
    """After a restart everything is there again, and half a VM is not."""
    with cloud_process(tmp_path) as cloud:
        cid = _create(cloud, "a")
        _create(cloud, "b")
        disk = cloud.create_disk(1024)
        cloud.attach_disk(cid, disk)
        cloud.fault("b", "dead")
        before = {vm.vm_cid: (vm.fault, vm.disk_cids) for vm in cloud.vms()}
    (CloudLayout(tmp_path).vms / "vm-half" / "agent").mkdir(parents=True)
    with cloud_process(tmp_path) as cloud:
        assert {vm.vm_cid: (vm.fault, vm.disk_cids) for vm in cloud.vms()} == before
        wait_until(lambda: _vm(cloud, "a").running, "the agent runs again")
        assert not _vm(cloud, "b").running


def test_a_dead_agent_is_not_started_until_it_is_healed(tmp_path: Path) -> None:
    """`dead` ends the process for good, `none` brings it back."""
    with cloud_process(tmp_path) as cloud:
        _create(cloud, "a")
        wait_until(lambda: _vm(cloud, "a").running, "the agent runs")
        cloud.fault("a", AgentFault.DEAD)
        assert not _vm(cloud, "a").running
        cloud.fault("a", AgentFault.NONE)
        wait_until(lambda: _vm(cloud, "a").running, "the agent runs again")
        assert _vm(cloud, "a").starts == 2


def test_a_disk_belongs_to_one_vm_and_outlives_it(tmp_path: Path) -> None:
    """It can be deleted only when no VM has it."""
    with cloud_process(tmp_path) as cloud:
        first, second, disk = _create(cloud, "a"), _create(cloud, "b"), cloud.create_disk(10)
        cloud.attach_disk(first, disk)
        cloud.attach_disk(first, disk)
        with pytest.raises(Rejected, match=f"attached to VM `{first}`"):
            cloud.attach_disk(second, disk)
        with pytest.raises(Rejected, match="attached"):
            cloud.delete_disk(disk)
        path = CloudLayout(tmp_path).disks / disk
        (path / "data").write_text("kept")
        told = json.loads(CloudLayout(tmp_path).vm(first).agent.settings.read_text())
        assert told["disks"]["persistent"][disk]["path"] == str(path)
        cloud.delete_vm(first)
        assert (path / "data").read_text() == "kept"
        cloud.attach_disk(second, disk)
        cloud.detach_disk(second, disk)
        cloud.delete_disk(disk)
        assert not path.exists()


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    """`NotFound` says which VM, disk or agent."""
    with cloud_process(tmp_path) as cloud:
        calls: tuple[Callable[[], None], ...] = (
            lambda: cloud.delete_vm("vm-x"),
            lambda: cloud.fault("vm-x", "none"),
            lambda: cloud.delete_disk("vm-x"),
            lambda: cloud.rewrite_credentials("vm-x", {"ca": "c"}),
        )
        for call in calls:
            with pytest.raises(NotFound, match="`vm-x`"):
                call()


def test_settings_of_another_agent_are_refused(tmp_path: Path) -> None:
    """A VM is never made from them."""
    with cloud_process(tmp_path) as cloud:
        with pytest.raises(Rejected, match="those of agent `b`"):
            _create(cloud, "a", settings("b", NOWHERE, CA, (CA,)))
        with pytest.raises(Rejected, match="not those of an agent"):
            _create(cloud, "a", {"mbus": "x"})
        assert cloud.vms() == ()


def test_lines_that_are_no_requests_are_refused(tmp_path: Path) -> None:
    """The supervisor answers each of them with an error and goes on."""
    with cloud_process(tmp_path) as cloud:
        for line in (b"junk\n", b'{"method":"nope"}\n', b'{"method":"vms","arguments":{"x":1}}\n'):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(LabDirectory(tmp_path).control))
                connection.sendall(line)
                assert "error" in json.loads(connection.makefile("rb").readline())
        assert cloud.vms() == ()


def test_the_socket_is_private_and_goes_with_the_supervisor(tmp_path: Path) -> None:
    """Nobody else may ask; the end of the lab ends the supervisor."""
    with cloud_process(tmp_path) as cloud:
        place = LabDirectory(tmp_path).control
        assert place.stat().st_mode & 0o777 == 0o600
        end_processes(LabDirectory(tmp_path))
        assert not place.exists()
        with pytest.raises(Unreachable, match="no supervisor answers"):
            cloud.vms()


def test_a_director_vm_that_was_never_rendered_cannot_start(tmp_path: Path) -> None:
    """The message names the file that `create-env` makes."""
    with cloud_process(tmp_path) as cloud:
        with pytest.raises(Rejected, match=r"nats\.cfg"):
            cloud.director_vm("start")
        status = cloud.director_vm("status")
        assert not status.wanted
        assert not status.running


@pytest.mark.parametrize(
    ("name", "version", "old"),
    [
        ("bosh-google-kvm-ubuntu-bionic-go_agent", "1.35", True),
        ("bosh-google-kvm-ubuntu-bionic-go_agent", "1.36", False),
        ("bosh-google-kvm-ubuntu-bionic-go_agent", "1.204.1", False),
        ("bosh-google-kvm-windows2019-go_agent", "2019.40", True),
        ("bosh-google-kvm-windows2019-go_agent", "2019.41.3", False),
        ("bosh-google-kvm-ubuntu-xenial-go_agent", "621.125", True),
        ("bosh-google-kvm-ubuntu-jammy-go_agent", "1.2", False),
        ("bosh-google-kvm-ubuntu-noble-go_agent", "1.1", False),
    ],
)
def test_agents_of_old_stemcells_ignore_credentials(name: str, version: str, *, old: bool) -> None:
    """The thresholds are Bionic 1.36 and Windows 2019.41."""
    assert ignores_mbus(name, version) is old
