"""What the director keeps: instances, tasks, locks, configs, events; and who may log in."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from rollover.platforms.bosh.director_records import TaskState
from rollover_lab.bosh.director import process
from rollover_lab.bosh.director.database import DirectorDatabase
from rollover_lab.bosh.director.deployment_plan import place_instances
from rollover_lab.bosh.director.instances import (
    DeployedInstance,
    DeploymentTable,
    InstanceTable,
    InstanceVm,
)
from rollover_lab.bosh.director.records import (
    ConfigTable,
    DirectorFacts,
    Happening,
    History,
    LockTable,
)
from rollover_lab.bosh.director.refusals import (
    IgnoredInDeletion,
    InstanceNotFound,
    InvalidIndex,
    LockBusy,
    TaskNotFound,
)
from rollover_lab.bosh.director.task_records import TaskTable


@pytest.fixture
def database(tmp_path: Path) -> DirectorDatabase:
    """Return an empty database."""
    return DirectorDatabase(tmp_path / "store" / "director.sqlite")


def made(
    database: DirectorDatabase, count: int = 1, az: str | None = None
) -> tuple[DeployedInstance, ...]:
    """Return instances of a group of a deployment."""
    DeploymentTable(database).create("zk")
    instances = InstanceTable(database)
    return tuple(
        instances.create("zk", group="zookeeper", index=index, az=az) for index in range(count)
    )


def vm_of(
    database: DirectorDatabase, instance: DeployedInstance, agent_id: str = "a1"
) -> InstanceVm:
    """Give an instance a VM."""
    return InstanceTable(database).add_vm(
        instance,
        agent_id=agent_id,
        cid=f"vm-{agent_id}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        stemcell=("jammy", "1.1"),
        nats_config_sha1="sha",
        trusted_certs_sha1="",
    )


def test_the_database_is_private(database: DirectorDatabase, tmp_path: Path) -> None:
    """Manifests hold secrets."""
    made(database)
    for path in (tmp_path / "store").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_an_instance_is_found_by_index_and_by_id(database: DirectorDatabase) -> None:
    """Both name the same one; its VM comes along."""
    (known,) = made(database)
    vm = vm_of(database, known)
    instances = InstanceTable(database)
    found = instances.find("zk", "zookeeper", "0")
    assert found == instances.find("zk", "zookeeper", known.uuid)
    assert found.vm == vm
    assert found.label == f"zookeeper/{known.uuid} (0)"


@pytest.mark.parametrize(
    ("text", "error"), [("7", InstanceNotFound), ("what", InvalidIndex), ("../x", InvalidIndex)]
)
def test_what_is_no_instance_is_refused(
    database: DirectorDatabase, text: str, error: type[Exception]
) -> None:
    """A wrong name is told from one that does not exist."""
    made(database)
    with pytest.raises(error):
        InstanceTable(database).find("zk", "zookeeper", text)


def test_a_failed_transaction_leaves_nothing(database: DirectorDatabase) -> None:
    """Everything or nothing."""

    def fail_half_way() -> None:
        with database.transaction():
            DeploymentTable(database).create("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert not DeploymentTable(database).exists("half")


def test_groups_grow_and_shrink_by_index(database: DirectorDatabase) -> None:
    """New instances get the lowest free index, the highest ones go."""
    known = made(database, 3)
    grown = place_instances(known, size=5, azs=())
    assert [new.index for new in grown.new] == [3, 4]
    shrunk = place_instances(known, size=1, azs=())
    assert (shrunk.kept, [instance.index for instance in shrunk.obsolete]) == (known[:1], [1, 2])


def test_new_instances_go_where_fewest_are(database: DirectorDatabase) -> None:
    """Zones are filled evenly."""
    placed = place_instances(made(database, 1, az="z1"), size=4, azs=("z1", "z2"))
    assert [new.az for new in placed.new] == ["z2", "z1", "z2"]


def test_an_ignored_instance_cannot_go(database: DirectorDatabase) -> None:
    """It is kept before others, and where that does not help, the deploy is refused."""
    known = made(database, 2)
    ignored = InstanceTable(database).change(known[1], ignore=1)
    placed = place_instances((known[0], ignored), size=1, azs=())
    assert placed.kept == (ignored,)
    with pytest.raises(IgnoredInDeletion, match="instance group 'zookeeper'"):
        place_instances((known[0], ignored), size=0, azs=())


def task(book: TaskTable, kind: str = "update_deployment") -> int:
    """Add a task."""
    return book.add(kind=kind, description="x", user="admin", order=b"{}", deployment="zk").id


def test_workers_take_the_oldest_task_that_they_may(database: DirectorDatabase) -> None:
    """A worker for listings passes over deploys."""
    book = TaskTable(database)
    first, listing = task(book), task(book, "vms")
    oldest, urgent = book.next(("update_deployment", "vms")), book.next(("vms",))
    assert (oldest and oldest.id, urgent and urgent.id) == (first, listing)
    book.start(book.get(first))
    assert book.get(first).state is TaskState.PROCESSING
    assert book.next(("update_deployment",)) is None


def test_a_queued_task_that_is_cancelled_still_reaches_a_worker(database: DirectorDatabase) -> None:
    """It stays cancelled when it is taken; one that has ended cannot be cancelled."""
    book = TaskTable(database)
    number = task(book)
    assert book.cancel(book.get(number))
    assert not book.cancel(book.get(number))
    book.start(book.get(number))
    assert book.cancelled(number)
    book.end(book.get(number), state=TaskState.CANCELLED, result="task cancelled")
    assert not book.cancel(book.get(number))


def test_tasks_do_not_outlive_the_process(database: DirectorDatabase) -> None:
    """What was running is given up, what waited waits on."""
    book = TaskTable(database)
    running, waiting = task(book), task(book)
    book.start(book.get(running))
    book.give_up_running()
    assert book.get(running).state is TaskState.TIMEOUT
    assert book.get(waiting).state is TaskState.QUEUED


def test_a_long_result_is_cut(database: DirectorDatabase) -> None:
    """At 128 characters, between words."""
    book = TaskTable(database)
    number = task(book)
    book.end(book.get(number), state=TaskState.ERROR, result="word " * 40)
    assert (book.get(number).result or "").endswith("word...")
    with pytest.raises(TaskNotFound, match="Task 99 not found"):
        book.get(99)


def test_a_lock_names_who_holds_it(database: DirectorDatabase) -> None:
    """A second task of the same deployment gives up with the text of the director."""
    locks, number = LockTable(database), task(TaskTable(database))
    with locks.deployment("zk", task=number):
        assert locks.locked("zk")
        assert [(lock.type, lock.resource) for lock in locks.all()] == [("deployment", ("zk",))]
        with (
            pytest.raises(LockBusy, match=f"Locking task id is {number}, description: 'x'"),
            locks.deployment("zk", task=number + 1, seconds=0),
        ):
            pass
        with locks.deployment("other", task=number + 1):
            pass
    assert not locks.locked("zk")


def test_configs_have_versions(database: DirectorDatabase) -> None:
    """The same content is no new version; only the newest is current."""
    configs = ConfigTable(database)
    for content in ("a: 1", "a: 1", "a: 2"):
        configs.add(kind="cloud", name="default", content=content)
    configs.add(kind="runtime", name="default", content="a: 3")
    assert [config.content for config in configs.find(kind="cloud")] == ["a: 2"]
    both = configs.find(kind="cloud", limit=9)
    assert [(config.content, config.current) for config in both] == [
        ("a: 2", True),
        ("a: 1", False),
    ]
    assert configs.delete(kind="cloud", name="default")
    assert configs.find(kind="cloud") == ()


def test_resurrection_can_be_paused(database: DirectorDatabase) -> None:
    """And goes on."""
    facts = DirectorFacts(database)
    assert not facts.resurrection_paused
    for paused in (True, False):
        facts.pause_resurrection(paused=paused)
        assert facts.resurrection_paused is paused


def test_events_are_found_by_what_they_are_about(database: DirectorDatabase) -> None:
    """The newest first, empty fields left out."""
    history = History(database)
    for name in ("one", "two"):
        history.add(
            Happening(user="admin", action="update", object_type="deployment", deployment=name)
        )
    assert [event["deployment"] for event in history.find({})] == ["two", "one"]
    (found,) = history.find({"deployment": "one", "before_id": "2"})
    assert (found["id"], found["user"]) == ("1", "admin")
    assert "error" not in found
    assert history.find({"after_time": "9999999999"}) == []


def test_bootstrap_users_go_when_credentials_are_permanent(database: DirectorDatabase) -> None:
    """Permissions are those of the reference, by subject, for each VM."""
    known = made(database, 2)
    vms = [vm_of(database, one, f"a{number}") for number, one in enumerate(known)]
    InstanceTable(database).change_vm(vms[0], permanent_nats_credentials=1)
    found = [instance.vm for instance in InstanceTable(database).of("zk") if instance.vm]
    users = msgspec.to_builtins(
        tuple(process.nats_users("C = US, CN = d", "C = US, CN = h", found))
    )
    assert [user["user"] for user in users] == [
        "C = US, CN = d",
        "C = US, CN = h",
        "C=USA, O=Cloud Foundry, CN=a0.agent.bosh-internal",
        "C=USA, O=Cloud Foundry, CN=a1.bootstrap.agent.bosh-internal",
        "C=USA, O=Cloud Foundry, CN=a1.agent.bosh-internal",
    ]
    assert users[0]["permissions"] == {
        "publish": ("agent.*", "hm.director.alert"),
        "subscribe": ("director.>",),
    }
    assert users[1]["permissions"]["publish"] == ()
    assert users[2]["permissions"] == {
        "publish": (
            "hm.agent.heartbeat.a0",
            "hm.agent.alert.a0",
            "hm.agent.shutdown.a0",
            "director.*.a0.*",
        ),
        "subscribe": ("agent.a0",),
    }
    assert json.loads(msgspec.json.encode(users[1]))["permissions"]["publish"] == []
