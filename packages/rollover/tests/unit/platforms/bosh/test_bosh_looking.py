"""Who answers, who is waited for, and who is no stranger: looks at agents and NATS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from time import monotonic

import pytest

from rigs.bosh_fakes import BEGUN, FakeConnections, FakeDirector, FakeMbus, Mishap, Vm, World
from rollover.errors import Rejected
from rollover.platforms.bosh.agent_observer import AgentObserver, DeploymentListings
from rollover.platforms.bosh.agent_pinger import AgentAnswer, AgentPinger
from rollover.platforms.bosh.agent_proof import AgentPatience
from rollover.platforms.bosh.connections import OtherConnection
from rollover.platforms.bosh.director_records import DiffLine, DirectorLock

LONG = 60.0
"""Longer than any of these tests lasts: who is waited for that long is waited for wrongly."""
PATIENCE = AgentPatience(ping=0.05, answer=LONG, briefly=0.05)


class Scene:
    """Two agents, and who looks at them. `after_ping` happens once everybody was pinged."""

    def __init__(self) -> None:
        self.world = World({"web": 2})
        self.director = FakeDirector(self.world)
        self.after_ping: Callable[[], None] = lambda: None
        self.pings: list[int] = []
        mbus = _Counted(self)
        self.listings = DeploymentListings(self.director)
        self.observer = AgentObserver(
            self.listings,
            connections=FakeConnections(self.world),
            pinger=AgentPinger(mbus, instances=lambda: [vm.instance for vm in self.vms]),
            clock=self.world.clock,
            patience=PATIENCE,
        )

    @property
    def vms(self) -> list[Vm]:
        """All of them."""
        return list(self.world.vms.values())

    def answering(self) -> set[str]:
        """Return who answers within a long time."""
        agents = [vm.instance.agent_id or "" for vm in self.vms]
        return set(self.observer.answering(agents, ["web"], seconds=LONG))


class _Counted(FakeMbus):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.world)
        self.scene = scene

    def ping(
        self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
    ) -> Mapping[str, AgentAnswer]:
        self.scene.pings.append(len(agents))
        found = super().ping(agents, timeout_seconds=timeout_seconds, wanted=wanted)
        self.scene.after_ping()
        return found


@pytest.fixture
def scene() -> Scene:
    """A world that is well."""
    return Scene()


def test_when_all_answer_nobody_is_waited_for(scene: Scene) -> None:
    """One ping."""
    assert scene.answering() == {"agent-web-0", "agent-web-1"}
    assert scene.pings == [2]


def test_who_comes_back_is_waited_for(scene: Scene) -> None:
    """Only those that are silent are asked again."""
    away = scene.vms[1]
    away.mishap = Mishap.DEAD

    def back() -> None:
        if len(scene.pings) == 3:
            away.mishap = Mishap.NONE

    scene.after_ping = back
    assert scene.answering() == {"agent-web-0", "agent-web-1"}
    assert scene.pings == [2, 1, 1, 1]


def test_who_stays_connected_and_is_silent_hangs(scene: Scene) -> None:
    """Nobody waits for that one to come back."""
    scene.vms[1].mishap = Mishap.HUNG
    begun = monotonic()
    assert scene.answering() == {"agent-web-0"}
    assert monotonic() - begun < LONG / 2


def test_who_connects_anew_while_silent_is_asked_again(scene: Scene) -> None:
    """Another connection: it is just coming."""
    coming = scene.vms[1]
    coming.mishap = Mishap.HUNG

    def another() -> None:
        coming.cid = scene.world.next_cid()
        coming.mishap = Mishap.NONE if len(scene.pings) == 2 else Mishap.HUNG

    scene.after_ping = another
    assert scene.answering() == {"agent-web-0", "agent-web-1"}


def test_a_vm_that_is_deleted_meanwhile_is_waited_for_no_longer(scene: Scene) -> None:
    """Its agent never comes back."""
    scene.vms[1].mishap = Mishap.DEAD

    def deleted() -> None:
        if len(scene.pings) == 2:
            scene.world.vms.popitem()

    scene.after_ping = deleted
    begun = monotonic()
    assert scene.answering() == {"agent-web-0"}
    assert monotonic() - begun < LONG / 2


def test_a_deployment_that_is_gone_has_nobody(scene: Scene) -> None:
    """It may go between two calls: that is no failure."""
    assert scene.listings.listed(["web", "gone"])["gone"] == ()
    assert {value.deployment for value in scene.listings.placed(["web", "gone"]).values()} == {
        "web"
    }
    assert scene.listings.manifests(["gone"]) == {"gone": ""}


def test_a_stranger_is_there_at_two_looks(scene: Scene) -> None:
    """Who is just going, or coming, is none."""
    stays = OtherConnection(cid=7, subject="CN=tool", since=BEGUN - timedelta(days=1))
    goes = OtherConnection(cid=8, subject="CN=passing by", since=BEGUN)
    scene.world.others = (stays, goes)
    seen = FakeConnections(scene.world).listing()
    scene.world.others = (stays,)
    assert scene.observer.strangers(seen).others == (stays,)
    scene.world.others = ()
    assert scene.observer.strangers(seen).others == ()


def test_a_lock_that_is_let_go_of_soon_is_none(scene: Scene) -> None:
    """Health checks hold one for seconds; for `check` every lock counts."""
    brief = DirectorLock(kind="deployment", resource=("web",), task_id="brief-1")
    scene.director.held = [brief]
    assert scene.observer.locks(briefly=True) == ()
    scene.director.held = [brief]
    assert scene.observer.locks(briefly=False) == (brief,)


def test_pending_changes_are_counted_and_a_diff_that_cannot_be_made_is_none(scene: Scene) -> None:
    """The deploy itself tells of that."""
    scene.director.diffs["web"] = (
        DiffLine(text="a", change="added"),
        DiffLine(text="b", change=""),
    )
    assert scene.listings.pending(["web", "gone"]) == {"web": 1, "gone": 0}

    class Unable(FakeDirector):
        def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
            raise Rejected("no", system="director", operation=deployment + manifest[:0])

    unable = DeploymentListings(Unable(scene.world))
    assert unable.pending(["web"]) == {"web": 0}
