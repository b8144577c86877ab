"""The director's client, and discovery, against the director of a lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bosh_interpolate import load
from rigs import bosh_lab, commands
from rigs.bosh_lab import BoshLab
from rollover.errors import ExitCode, NotFound
from rollover.fleet import description
from rollover.platforms.bosh import director_fleet, nats_properties
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DeployExtent,
    DirectorTask,
    TaskEvent,
    TaskState,
)
from rollover.site import load_fleet
from rollover_lab.bosh import director_access

AGENTS = 4


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoshLab]:
    """A lab with 4 agents in 2 deployments."""
    spec = bosh_lab.in_a_hurry(agents=AGENTS)
    with bosh_lab.bosh_lab(tmp_path_factory.mktemp("client") / "lab", spec) as found:
        yield found


def followed(lab: BoshLab, number: int) -> tuple[list[TaskEvent], DirectorTask]:
    """The events of a task, and how it ended."""
    events: list[TaskEvent] = []
    following = lab.director.follow(number, deadline_seconds=bosh_lab.TASK_SECONDS)
    while True:
        try:
            events.append(next(following))
        except StopIteration as ended:
            return events, ended.value


def the_same(lab: BoshLab, instance: BoshInstance) -> BoshInstance:
    """An instance as it is now."""
    listed = lab.director.instances(instance.deployment)
    return next(bosh_instance for bosh_instance in listed if bosh_instance.name == instance.name)


def test_the_director_says_who_it_is(lab: BoshLab) -> None:
    """And takes our password."""
    info = lab.director.info()
    assert info.version >= (271, 12)
    assert info.user == "admin"
    assert info.uaa is None


def test_both_listings_have_the_same_instances(lab: BoshLab) -> None:
    """All run, by their own word; the brief one asks none."""
    for name in lab.deployments():
        full, brief = lab.director.instances(name), lab.director.placed(name)
        assert {bosh_instance.job_state for bosh_instance in full} == {"running"}
        assert {
            (bosh_instance.name, bosh_instance.vm_cid, bosh_instance.agent_id)
            for bosh_instance in full
        } == {
            (bosh_instance.name, bosh_instance.vm_cid, bosh_instance.agent_id)
            for bosh_instance in brief
        }
        assert all(bosh_instance.vm_created_at is not None for bosh_instance in (*full, *brief))
        assert all(
            bosh_instance.stemcell is not None and bosh_instance.stemcell.version
            for bosh_instance in full
        )


def test_everything_else_can_be_read(lab: BoshLab) -> None:
    """Each listing in the form that the bosh CLI reads."""
    name = lab.deployments()[0]
    manifest = lab.director.manifest(name)
    assert isinstance(load(manifest.encode()), dict)
    assert not [pair for pair in lab.director.diff(name, manifest) if pair.change]
    assert [
        pair for pair in lab.director.diff(name, f"{manifest}\ntags: {{a: b}}\n") if pair.change
    ]
    assert lab.director.locks() == ()
    assert lab.director.stemcells()
    assert {config.kind for config in lab.director.configs("cloud")} == {"cloud"}
    assert isinstance(lab.director.variables(name), tuple)
    assert "nats" in " ".join(expiry.path for expiry in lab.director.certificate_expiry())
    assert lab.director.tasks() == ()


def test_the_resurrector_is_read_as_it_is_set(lab: BoshLab) -> None:
    """For the whole director."""
    assert lab.director.resurrection() is True
    lab.director.set_resurrection(paused=True)
    assert lab.director.resurrection() is False
    lab.director.set_resurrection(paused=False)


def test_which_task_made_a_vm_is_remembered(lab: BoshLab) -> None:
    """One of the tasks so far; of a VM that never was, nothing is known."""
    made = lab.director.placed(lab.deployments()[0])[0]
    task, last = lab.director.creation_task(made.vm_cid or ""), lab.director.last_task()
    assert task is not None
    assert last is not None
    assert 0 < task <= last
    assert lab.director.creation_task("vm-that-never-was") is None


def test_what_is_not_there_is_not_found(lab: BoshLab) -> None:
    """In the director's words."""
    with pytest.raises(NotFound, match="code 70000"):
        lab.director.manifest("nowhere")
    with pytest.raises(NotFound):
        lab.director.task(999_999)


def test_the_events_of_a_deploy_tell_each_instance_once(lab: BoshLab) -> None:
    """Read with `Range` while it goes on; a second reader has the same."""
    name = lab.deployments()[0]
    number = lab.director.restart(name)
    events, task = followed(lab, number)
    assert task.state is TaskState.DONE
    done = [e.task for e in events if e.stage == "Updating instance" and e.state == "finished"]
    assert len(done) == len(set(done)) == len(lab.director.placed(name))
    assert all(one.time <= other.time for one, other in pairwise(events))
    assert [*lab.director.follow(number)] == events


def test_one_instance_can_be_recreated(lab: BoshLab) -> None:
    """Its name outlives its VM."""
    name = lab.deployments()[-1]
    before = lab.director.placed(name)[0]
    number = lab.director.recreate(
        name, DeployExtent(group=before.group, instance=before.id, fix=True)
    )
    _, task = followed(lab, number)
    assert task.state is TaskState.DONE, task.result
    after = the_same(lab, before)
    assert after.vm_cid not in {None, before.vm_cid}
    assert after.job_state == "running"


def test_stopping_ends_a_deploy_early(lab: BoshLab) -> None:
    """The task is cancelled, or had ended by then; nothing is locked afterwards."""
    number = lab.director.restart(lab.deployments()[0], DeployExtent(max_in_flight="1"))
    list(lab.director.follow(number, stopping=lambda: True))
    assert lab.director.task(number).state in {TaskState.CANCELLED, TaskState.DONE}
    lab.director.cancel(number)
    bosh_lab.eventually(lambda: lab.director.locks() == ())
    lab.deploy()


def test_an_instance_can_be_ignored_and_not(lab: BoshLab) -> None:
    """The full listing says so."""
    instance = lab.director.placed(lab.deployments()[0])[0]
    lab.director.ignore(instance, ignored=True)
    assert the_same(lab, instance).ignore
    lab.director.ignore(instance, ignored=False)
    assert not the_same(lab, instance).ignore


def test_resurrection_can_be_paused(lab: BoshLab) -> None:
    """Twice is as good as once."""
    for paused in (True, True, False):
        lab.director.set_resurrection(paused=paused)


def test_the_lab_is_discovered_and_expanded(lab: BoshLab, tmp_path: Path) -> None:
    """Its CA by its own manifest, all its agents, and nothing secret."""
    access = director_access.director_access(lab.layout)
    secret = access.secret.reveal().decode()
    assert access.ca is not None
    variables = {
        "BOSH_ENVIRONMENT": access.url, "BOSH_CLIENT": access.client, "BOSH_CLIENT_SECRET": secret,
        "BOSH_CA_CERT": access.ca.decode(), "BOSH_CONFIG": os.devnull,
    }  # fmt: skip
    script = lab.layout.root / "create-env.sh"
    out = tmp_path / "fleet.yml"
    ran = commands.run(
        "discover", "--bosh", "--create-env", script, "-o", out, environment=variables
    )
    assert ran.code == ExitCode.DONE, ran.talk
    assert secret not in ran.out + ran.talk + out.read_text()
    assert f"a round over {AGENTS} agents" in ran.out
    there, made = load_fleet(lab.layout.root / "fleet.yml"), load_fleet(out)
    assert [authority.certificates for authority in made.authorities] == [
        authority.certificates for authority in there.authorities
    ]
    assert made.director is not None
    assert there.director is not None
    assert made.director.nats == there.director.nats
    expanded = director_fleet.expand_fleet(made, lab.director)
    assert nats_properties.NatsPart.SERVER.value in (
        expanded.groups[0].instances[0].endpoints[0].certificate or ""
    )
    fleet = description.assemble(expanded, {})
    assert [len(group.instances) for group in fleet.groups] == [1, AGENTS]
    assert len(fleet.links) == AGENTS + 2
