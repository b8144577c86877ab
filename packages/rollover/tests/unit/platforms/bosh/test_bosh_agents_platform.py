"""Agents as a platform: observed, rolled out and proven, on a director in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from rigs.bosh_fakes import (
    BEGUN,
    OLD,
    SETTINGS,
    FakeConnections,
    FakeDirector,
    FakeMbus,
    Mishap,
    Vm,
    World,
    ca,
)
from rollover.engine.ports import Moment, Pacing, Platform, ReportsFindings
from rollover.errors import EvidenceMissing, StaleError, Unreachable
from rollover.fleet.evidence import Applied, Failed, Observation, Order, Result
from rollover.fleet.fleet import Availability
from rollover.fleet.names import InstanceName
from rollover.pki.certificate import Signed, anatomy, check_signature
from rollover.platforms.bosh.agent_pinger import AgentAnswer
from rollover.platforms.bosh.agent_proof import AgentPatience
from rollover.platforms.bosh.agents import BoshAgents
from rollover.platforms.bosh.connections import OtherConnection
from rollover.platforms.bosh.director_records import DirectorLock
from rollover.platforms.bosh.held_credentials import HeldCredentials
from rollover.platforms.bosh.provenance import ProvenanceFile
from rollover.rules.rule import Severity

QUICK = AgentPatience(
    ping=0.1, answer=0.2, prove=0.1, unchanged=0.05, fresh=0.0, lock=0.1, briefly=0.05, update=1.0
)


class Scene:
    """A world, a director on it, and the platform under test."""

    def __init__(self, world: World, state: Path, *, recover: bool = False) -> None:
        self.world = world
        self.director = FakeDirector(world)
        self.mbus = FakeMbus(world)
        self.state = state
        self.recover = recover
        self.in_place = "director"
        self.patience = QUICK
        self.platform = self.again()

    def again(self) -> BoshAgents:
        """Make the platform of a new process."""
        settings = msgspec.structs.replace(SETTINGS, in_place=self.in_place)
        held = HeldCredentials(
            lambda: msgspec.structs.replace(self.world.handout, trusted_certs=""),
            signer_key=self.world.signer_key,
            director=self.director,
            ledger=ProvenanceFile(self.state / "agents.json"),
            clock=self.world.clock,
        )
        self.platform = BoshAgents(
            self.world.group(),
            held,
            settings=settings,
            director=self.director,
            mbus=self.mbus,
            connections=FakeConnections(self.world),
            recover=self.recover,
            patience=self.patience,
        )
        return self.platform

    def observe(self) -> dict[InstanceName, Observation]:
        """Look at all of them."""
        names = [instance.name for instance in self.platform.group.instances]
        return {observation.instance: observation for observation in self.platform.observe(names)}

    def both(self) -> None:
        """Look, and have the first `create-env` run: both are trusted, the new one signs."""
        self.observe()
        self.world.hand_out(self.world.new, self.world.old, self.world.new)

    def roll_out(
        self,
        orders: list[Order] | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        in_flight: int = 2,
    ) -> list[Result]:
        """Roll out what is handed out now."""
        wanted = self.world.orders() if orders is None else orders
        pacing = Pacing(canaries=1, max_in_flight=in_flight)
        return list(self.platform.roll_out(wanted, pacing=pacing, stopping=stopping))

    def rules(self, moment: Moment) -> list[str]:
        """Return the rules that find something."""
        return [finding.rule for finding in self.platform.findings(moment)]

    def vm(self, number: int = 0) -> Vm:
        """Return one of the VMs."""
        return list(self.world.vms.values())[number]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two deployments."""
    return Scene(World({"web": 2, "cf": 3}), tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    """One deployment whose agents Rollover updates itself: each costs an RSA key."""
    scene = Scene(World({"web": 2}), tmp_path)
    scene.in_place = "direct"
    scene.again()
    return scene


def test_it_is_a_platform_that_attends(scene: Scene) -> None:
    """The engine can use it as both."""
    platform: Platform = scene.platform
    assert isinstance(platform, ReportsFindings)


def test_an_agent_presents_a_stand_in_of_its_ca(scene: Scene) -> None:
    """It is signed by the CA, and the bundle is what was handed out."""
    for seen in scene.observe().values():
        (endpoint,) = seen.endpoints
        assert seen.availability is Availability.READY
        assert endpoint.trusts == (scene.world.old.certificate,)
        leaf = anatomy(endpoint.presents[0])
        assert check_signature(leaf, by=anatomy(scene.world.old.certificate)) is Signed.GOOD
        assert not seen.may_use


def test_a_rotation_is_rolled_out_and_seen(scene: Scene) -> None:
    """Every agent is applied with evidence, and then holds what was ordered, without doubt."""
    scene.both()
    results = scene.roll_out()
    assert len(results) == 5
    for result in results:
        assert isinstance(result, Applied)
        assert {one.by for one in result.evidence} == {"connz", "ping"}
    assert scene.director.calls == ["deploy web", "deploy cf"]
    new, old = scene.world.new.certificate, scene.world.old.certificate
    for seen in scene.observe().values():
        assert seen.endpoints[0].trusts == (old, new)
        leaf = anatomy(seen.endpoints[0].presents[0])
        assert check_signature(leaf, by=anatomy(new)) is Signed.GOOD
    scene.world.hand_out(scene.world.new, scene.world.new)
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    assert {value.endpoints[0].trusts for value in scene.observe().values()} == {(new,)}


def test_what_an_earlier_run_has_done_is_not_done_again(scene: Scene) -> None:
    """A new process finds the proof and starts no task."""
    scene.both()
    scene.roll_out()
    scene.director.calls.clear()
    scene.again()
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    assert scene.director.calls == []


def test_a_green_deploy_of_an_agent_that_kept_its_certificate_is_a_failure(scene: Scene) -> None:
    """H2: the director's word is not enough; it is deployed once more, then named."""
    scene.both()
    vm = scene.vm()
    vm.mishap = Mishap.KEEPS
    results = scene.roll_out()
    (failed,) = [result for result in results if isinstance(result, Failed)]
    assert failed.instance == vm.instance.name
    assert failed.code == "bosh-agent-unchanged"
    assert "recreate" in failed.hint
    assert "as before" in failed.message
    assert failed.restored
    assert scene.director.calls == ["deploy web", "deploy web"]
    assert scene.observe()[vm.instance.name].availability is Availability.REFUSING


def test_a_deploy_that_changed_dns_only_is_repeated(scene: Scene) -> None:
    """H3: the second deploy does the rest."""
    scene.both()
    scene.vm().mishap = Mishap.ONLY_DNS
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    assert scene.director.calls == ["deploy web", "deploy web", "deploy cf"]


def test_vms_on_an_old_stemcell_are_recreated(scene: Scene) -> None:
    """H1: their agents would answer `ok` and change nothing."""
    scene.both()
    vm = scene.vm()
    vm.instance = msgspec.structs.replace(vm.instance, stemcell=OLD)
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    named = f"{vm.instance.group}/{vm.instance.id}"
    assert scene.director.calls == ["deploy web", f"recreate web {named}", "deploy cf"]


def test_an_old_director_recreates_whole_deployments(tmp_path: Path) -> None:
    """H4: before 271.12 nothing is updated in place."""
    scene = Scene(World({"web": 2}), tmp_path)
    scene.director.version = (270, 2)
    scene.both()
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    assert scene.director.calls == ["recreate web"]


def test_after_a_deployment_that_fails_none_is_begun(scene: Scene) -> None:
    """H6: what was done before it is told as done, what was not tried is not told."""
    scene.both()
    scene.vm(1).mishap = Mishap.FAILS
    results = scene.roll_out()
    assert [type(result) for result in results] == [Applied, Failed]
    failed = results[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "bosh-deploy-failed"
    assert "is not running after update" in failed.message
    assert failed.hint.startswith("Read `bosh task 1 --debug`")
    assert scene.director.calls == ["deploy web"]


def test_a_task_that_fails_as_a_whole_is_told_of_the_instance_that_it_names(
    scene: Scene,
) -> None:
    """A hung agent lets its whole deployment fail before anything changes."""
    scene.both()
    vm = scene.vm(1)
    vm.mishap = Mishap.HUNG
    (failed,) = scene.roll_out()
    assert isinstance(failed, Failed)
    assert failed.instance == vm.instance.name
    assert "Timed out sending 'get_state'" in failed.message
    assert failed.restored, "it is connected with the certificate that it had"
    named = f"{vm.instance.group}/{vm.instance.id}"
    assert failed.hint == f"`bosh -d web recreate {named} --fix`; then run Rollover again."


def test_what_an_agent_has_that_went_away_is_not_claimed_to_be_known(scene: Scene) -> None:
    """Whether it took something before it went, nobody can see."""
    scene.both()
    vm = scene.vm()
    scene.director.during = lambda _: setattr(vm, "mishap", Mishap.DEAD)
    (failed,) = scene.roll_out()
    assert isinstance(failed, Failed)
    assert failed.instance == vm.instance.name
    assert not failed.restored


def test_stopping_begins_no_further_deployment(scene: Scene) -> None:
    """The one that was begun is finished."""
    scene.both()
    results = scene.roll_out(stopping=lambda: bool(scene.director.calls))
    assert {result.instance.partition("/")[0] for result in results} == {"web"}
    assert scene.director.calls == ["deploy web"]


def test_a_deployment_that_goes_meanwhile_is_no_failure(scene: Scene) -> None:
    """The health check of a platform comes and goes."""
    scene.both()
    orders = scene.world.orders()
    scene.world.drop("web")
    results = scene.roll_out(orders)
    assert len(results) == 5
    assert all(isinstance(result, Applied) for result in results)
    assert scene.director.calls == ["deploy cf"]


def test_a_deployment_that_goes_during_its_deploy_is_no_failure(scene: Scene) -> None:
    """Its instances need nothing any more."""
    scene.both()
    scene.director.during = lambda name: scene.world.drop(name) if name == "web" else None
    results = scene.roll_out()
    assert len(results) == 5
    assert all(isinstance(result, Applied) for result in results)


def test_somebody_elses_lock_is_waited_for(scene: Scene) -> None:
    """A lock that goes is no obstacle; one that stays is told, and nothing is begun."""
    scene.both()
    scene.director.held = [DirectorLock(kind="deployment", resource=("web",), task_id="brief-7")]
    assert len(scene.roll_out()) == 5
    scene.world.hand_out(scene.world.new, scene.world.new)
    scene.director.calls.clear()
    scene.director.held = [DirectorLock(kind="deployment", resource=("web",), task_id="7")]
    (failed,) = scene.roll_out()
    assert isinstance(failed, Failed)
    assert failed.code == "bosh-locked"
    assert failed.restored
    assert scene.director.calls == []


def test_stopping_ends_the_wait_for_a_lock(scene: Scene) -> None:
    """Nothing was tried, so nothing is told."""
    scene.both()
    scene.director.held = [DirectorLock(kind="deployment", resource=("web",), task_id="7")]
    looks = iter([False])
    assert scene.roll_out(stopping=lambda: next(looks, True)) == []
    assert scene.director.calls == []


def test_where_nats_is_out_of_reach_the_director_asks_the_agents(scene: Scene) -> None:
    """Its listing asks every agent for its state; a hung one is known by it too."""

    class Unreached(FakeMbus):
        def ping(
            self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
        ) -> Mapping[str, AgentAnswer]:
            tries.append((len(agents), timeout_seconds, wanted))
            raise Unreachable("nobody", system="nats", operation="connect")

    tries: list[object] = []
    scene.mbus = Unreached(scene.world)
    scene.again()
    scene.vm().mishap = Mishap.HUNG
    available = [value.availability for value in scene.observe().values()]
    assert available == [Availability.UNREACHABLE, *[Availability.READY] * 4]
    scene.observe()
    assert len(tries) == 1, "it is not tried again"


def test_with_expired_certificates_nobody_tries_to_speak_over_nats(tmp_path: Path) -> None:
    """Each try would last as long as a ping may; once there are new ones it is tried again."""
    asked: list[int] = []

    class Counting(FakeMbus):
        def ping(
            self, agents: Collection[str], *, timeout_seconds: float, wanted: int | None = None
        ) -> Mapping[str, AgentAnswer]:
            asked.append(len(agents))
            return super().ping(agents, timeout_seconds=timeout_seconds, wanted=wanted)

    scene = Scene(World({"web": 1}), tmp_path)
    scene.mbus = Counting(scene.world)
    scene.again()
    scene.world.now = scene.world.old.certificate.not_after + timedelta(hours=1)
    scene.observe()
    assert asked == []
    fresh = ca("fresh", at=scene.world.now)
    scene.world.hand_out(fresh, fresh)
    scene.observe()
    assert len(asked) == 1


def test_nothing_is_begun_that_could_not_be_proven(scene: Scene) -> None:
    """Without the list of connections no deploy begins."""
    scene.both()
    scene.world.missing = "no monitoring port of NATS is described"
    with pytest.raises(EvidenceMissing, match="nothing could be proven"):
        scene.roll_out()
    assert scene.director.calls == []


def test_an_order_for_what_the_director_does_not_hand_out_is_stale(scene: Scene) -> None:
    """Somebody ran `create-env` after the plan was made."""
    scene.both()
    orders = scene.world.orders()
    scene.world.hand_out(scene.world.new, scene.world.new)
    with pytest.raises(StaleError, match="hands out"):
        scene.roll_out(orders)
    assert scene.director.calls == []


@pytest.mark.parametrize(
    ("changes", "mishap", "availability", "why"),
    [
        ({"ignore": True}, Mishap.NONE, Availability.IGNORED, "ignored"),
        ({"state": "stopped"}, Mishap.NONE, Availability.IGNORED, "a deploy gives it nothing"),
        ({}, Mishap.HUNG, Availability.UNREACHABLE, "connected, but does not answer"),
        ({}, Mishap.DEAD, Availability.UNREACHABLE, "not connected"),
    ],
)
def test_who_cannot_be_changed_is_named(
    scene: Scene, changes: dict[str, object], mishap: Mishap, availability: Availability, why: str
) -> None:
    """Each kind of being left behind, with what is known of its state all the same."""
    scene.observe()
    vm = scene.vm()
    vm.mishap = mishap
    vm.instance = msgspec.structs.replace(vm.instance, **changes)
    seen = scene.observe()[vm.instance.name]
    assert (seen.availability, why in seen.why) == (availability, True)
    assert seen.endpoints[0].trusts == (scene.world.old.certificate,)


def test_an_agent_that_is_away_may_hold_what_was_handed_out_since(scene: Scene) -> None:
    """The safety rule has to range over both."""
    scene.observe()
    scene.vm().mishap = Mishap.DEAD
    scene.world.hand_out(scene.world.new, scene.world.old, scene.world.new)
    seen = scene.observe()[scene.vm().instance.name]
    assert seen.endpoints[0].trusts == (scene.world.old.certificate,)
    assert [pair[0].trusts for pair in seen.may_use] == [scene.world.handout.bundle]


def test_who_lost_its_ca_comes_back_with_it_and_blocks_nothing(scene: Scene) -> None:
    """Somebody's own `create-env` took the new CA away; whoever is just dead is in the way."""
    scene.both()
    scene.roll_out()
    scene.observe()
    scene.world.hand_out(scene.world.old, scene.world.old)
    for vm in scene.world.vms.values():
        vm.mishap = Mishap.DEAD
    found = [
        finding for finding in scene.platform.findings(Moment.BEFORE) if "unresp" in finding.rule
    ]
    assert len(found) == len(scene.world.vms)
    assert {finding.severity for finding in found} == {Severity.WARNING}
    assert "comes back when the director trusts that CA again" in found[0].remedy
    scene.world.hand_out(scene.world.new, scene.world.old, scene.world.new)
    again = [
        finding for finding in scene.platform.findings(Moment.BETWEEN) if "unresp" in finding.rule
    ]
    assert {finding.severity for finding in again} == {Severity.ERROR}


def test_a_vm_that_is_gone_blocks_nothing(scene: Scene) -> None:
    """It is ready, with what its next VM would get."""
    name = scene.vm().instance.name
    scene.both()
    del scene.world.vms[name]
    seen = scene.observe()[name]
    assert (seen.availability, seen.why) == (Availability.READY, "its VM is gone")
    assert seen.endpoints[0].trusts == scene.world.handout.bundle
    (evidence,) = scene.platform.handshakes([name], accepted=(), refused=())
    assert evidence.holds


def test_a_vm_that_is_made_right_after_the_change_is_known_by_its_task(scene: Scene) -> None:
    """Somebody scales out, or the resurrector is at work: no clock is that exact, numbers are."""
    scene.both()
    scene.observe()
    made = scene.world.add("web", 7)
    scene.world.update(made)
    created = scene.world.now + timedelta(seconds=2)
    made.instance = msgspec.structs.replace(made.instance, vm_created_at=created)
    scene.again()
    assert scene.observe()[made.instance.name].may_use, "the clocks leave two answers"
    scene.director.made = {made.instance.vm_cid or "": scene.director.first_task + 1}
    scene.again()
    found = scene.observe()[made.instance.name]
    assert not found.may_use
    assert [trust.fingerprint for trust in found.endpoints[0].trusts or ()] == [
        scene.world.old.fingerprint,
        scene.world.new.fingerprint,
    ]


def test_every_agent_answers_a_ping_at_the_gate(scene: Scene) -> None:
    """One that does not is evidence against the next step."""
    scene.vm().mishap = Mishap.HUNG
    evidence = list(scene.platform.handshakes(list(scene.world.vms), accepted=(), refused=()))
    assert [item.holds for item in evidence] == [False, True, True, True, True]
    assert {item.observed for item in evidence} == {"pong", "no answer"}


def test_recovery_recreates_who_does_not_answer(tmp_path: Path) -> None:
    """With all of a deployment silent it is `recreate --fix`; with some, a deploy with `--fix`."""
    scene = Scene(World({"web": 2, "cf": 3}), tmp_path, recover=True)
    scene.observe()
    for vm in (*scene.world.of("web"), scene.world.of("cf")[0]):
        vm.mishap = Mishap.DEAD
    silent = [value for value in scene.observe().values() if value.why]
    assert len(silent) == 3
    assert {observation.availability for observation in silent} == {Availability.READY}
    assert "--fix" in silent[0].why
    assert all(
        handshake.holds
        for handshake in scene.platform.handshakes(list(scene.world.vms), accepted=(), refused=())
    )
    scene.world.hand_out(scene.world.new, scene.world.old, scene.world.new)
    assert all(isinstance(applied, Applied) for applied in scene.roll_out())
    assert scene.director.calls == ["recreate web --fix", "deploy cf --fix"]


def test_rollover_updates_agents_itself(small: Scene) -> None:
    """`in_place: direct`: no task at all; what it sent is what the agents then hold."""
    small.both()
    results = small.roll_out()
    assert len(results) == 2
    assert all(isinstance(result, Applied) for result in results)
    assert small.director.calls == []
    assert len(small.mbus.sent) == 2
    for _, settings in small.mbus.sent:
        assert settings["trusted_certs"] == ""
        assert settings["disk_associations"] == []
    assert {value.endpoints[0].trusts for value in small.observe().values()} == {
        small.world.handout.bundle
    }
    assert "bosh-record-stale" in small.rules(Moment.AFTER)


def test_an_agent_that_says_ok_and_keeps_its_certificate_fails_directly_too(
    small: Scene,
) -> None:
    """H2 again; the canary fails, so nobody else is begun."""
    small.both()
    small.vm().mishap = Mishap.KEEPS
    (failed,) = small.roll_out()
    assert isinstance(failed, Failed)
    assert failed.code == "bosh-agent-unchanged"
    assert len(small.mbus.sent) == 1


def test_what_rollover_cannot_update_itself_the_director_does(small: Scene) -> None:
    """Old stemcells are recreated; the rest goes directly."""
    small.both()
    vm = small.vm()
    vm.instance = msgspec.structs.replace(vm.instance, stemcell=OLD)
    assert all(isinstance(applied, Applied) for applied in small.roll_out())
    assert len(small.mbus.sent) == 1
    assert small.director.calls == [f"recreate web router/{vm.instance.id}"]


def test_a_quiet_fleet_has_hardly_a_finding(scene: Scene) -> None:
    """A check of a healthy director, and a plan, tell of the resurrector, and so does a run."""
    assert scene.rules(Moment.CHECK) == ["bosh-resurrection-on"]
    assert scene.rules(Moment.BEFORE) == ["bosh-resurrection-on"]
    assert scene.rules(Moment.BETWEEN) == []
    assert scene.rules(Moment.AFTER) == ["bosh-keys-in-agent-logs"]


@pytest.mark.parametrize(("resurrects", "told"), [(True, True), (False, False), (None, True)])
def test_the_director_says_whether_the_resurrector_is_on(
    scene: Scene, *, resurrects: bool | None, told: bool
) -> None:
    """Newer directors say it for all VMs at once, and no more with each of them."""
    scene.director.resurrects = resurrects
    assert ("bosh-resurrection-on" in scene.rules(Moment.CHECK)) is told


def test_a_look_is_used_again_for_a_moment(scene: Scene) -> None:
    """What was observed need not be asked for again to be told of; a rollout ends that."""
    scene.patience = msgspec.structs.replace(QUICK, fresh=60.0)
    scene.again()
    scene.both()
    asked = scene.director.asked
    assert scene.rules(Moment.BETWEEN) == []
    again = scene.director.asked
    assert again == asked + 2, "another handout: another look"
    assert scene.rules(Moment.BETWEEN) == []
    assert scene.director.asked == again
    scene.roll_out()
    after = scene.director.asked
    assert scene.rules(Moment.BETWEEN) == []
    assert scene.director.asked == after + 2


def test_a_stranger_on_nats_is_found(scene: Scene) -> None:
    """An agent of no deployment, and one who is no agent at all."""
    orphan = scene.world.add("gone", 9)
    scene.again()
    scene.world.others = (
        OtherConnection(cid=7, subject="CN=tool", since=BEGUN - timedelta(days=1)),
    )
    scene.director.forgotten = "gone"
    found = list(scene.platform.findings(Moment.BETWEEN))
    subjects = {finding.subject for finding in found if finding.rule == "bosh-foreign-connection"}
    assert subjects == {"CN=tool", f"agent {orphan.instance.agent_id}"}


def test_locks_that_stay_are_found_before_a_rotation(scene: Scene) -> None:
    """Brief ones are waited for."""
    scene.director.held = [DirectorLock(kind="deployment", resource=("cf",), task_id="brief-1")]
    assert "bosh-locked" not in scene.rules(Moment.BEFORE)
    scene.director.held = [DirectorLock(kind="deployment", resource=("cf",), task_id="12")]
    assert "bosh-locked" in scene.rules(Moment.BEFORE)
