"""After which time a VM was made: by clocks that may differ, or by the numbers of tasks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rigs.bosh_fakes import BEGUN, Ca, ca
from rollover.errors import Unreachable
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.provenance import (
    CLOCK_SKEW,
    AgentState,
    IssuedCredentials,
    ProvenanceFile,
    VmCreationTimes,
)

LAST_TASK = 40
SEEN = Fingerprint("a" * 64)


class Director:
    """Remembers which task made a VM, and counts how often it was asked."""

    def __init__(self, task: int | None = None, *, away: bool = False) -> None:
        self.task, self.away, self.asked = task, away, 0

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        assert vm_cid == "vm-1"
        self.asked += 1
        if self.away:
            raise Unreachable("away", system="director", operation="events")
        return self.task


@pytest.fixture(scope="module")
def old() -> Ca:
    """The CA before."""
    return ca("old")


@pytest.fixture(scope="module")
def new() -> Ca:
    """The CA that signs since `BEGUN`."""
    return ca("new")


@pytest.fixture
def ledger(tmp_path: Path, old: Ca, new: Ca) -> ProvenanceFile:
    """Both were handed out, one after the other."""
    found = ProvenanceFile(tmp_path / "agents.json")
    ago = BEGUN - timedelta(hours=1)
    found.record_issued(
        IssuedCredentials(signer=old.certificate, bundle=(old.certificate,)), at=ago
    )
    both = (old.certificate, new.certificate)
    now = IssuedCredentials(signer=new.certificate, bundle=both, since=BEGUN, task=LAST_TASK)
    found.record_issued(now, at=BEGUN)
    return found


def instance(*, seconds: float) -> BoshInstance:
    """A VM that was made so long after the change, by the director's clock."""
    return BoshInstance(
        deployment="web",
        group="router",
        id="0",
        agent_id="a0",
        vm_cid="vm-1",
        vm_created_at=BEGUN + timedelta(seconds=seconds),
    )


def signers(
    ledger: ProvenanceFile, births: VmCreationTimes, made: BoshInstance, old: Ca, new: Ca
) -> set[str]:
    """Return the names of the CAs that a VM's certificate can come from, once it is connected."""
    at = BEGUN + timedelta(seconds=30)
    trusted = {old.fingerprint, new.fingerprint}
    ledger.record_connected({"a0": SEEN}, born={"a0": births.after(made)}, trusted=trusted, at=at)
    states = ledger.states("a0", trusted=trusted, certificate=SEEN, born=births.after(made), at=at)
    names = {old.fingerprint: "old", new.fingerprint: "new"}
    return {names[state.signer] for state in states}


@pytest.mark.parametrize(
    ("task", "seconds", "can_be"),
    [
        (LAST_TASK + 1, 5, {"new"}),
        (LAST_TASK + 1, -20, {"new"}),
        (LAST_TASK, 5, {"old", "new"}),
        (None, 5, {"old", "new"}),
    ],
)
def test_a_vm_of_a_younger_task_has_what_is_handed_out_now(
    ledger: ProvenanceFile, old: Ca, new: Ca, *, task: int | None, seconds: float, can_be: set[str]
) -> None:
    """Whatever the clocks say; of an older task, or none, both stay possible."""
    births = VmCreationTimes(Director(task), ledger)
    assert signers(ledger, births, instance(seconds=seconds), old, new) == can_be


def test_clocks_that_are_clear_ask_nobody(ledger: ProvenanceFile) -> None:
    """Every VM of a large fleet would be one more call."""
    director = Director(LAST_TASK + 1)
    births = VmCreationTimes(director, ledger)
    made = instance(seconds=3600)
    assert births.after(made) == BEGUN + timedelta(hours=1) - CLOCK_SKEW
    assert births.after(instance(seconds=-3600)) == BEGUN - timedelta(hours=1) - CLOCK_SKEW
    assert director.asked == 0


def test_an_agent_of_which_all_is_known_asks_nobody(ledger: ProvenanceFile, new: Ca) -> None:
    """After a round that made every VM anew there would be one call for each."""
    ledger.record_connected(
        {"a0": SEEN}, born={}, trusted={new.fingerprint}, at=BEGUN + timedelta(minutes=2)
    )
    state = AgentState(new.fingerprint, (new.fingerprint,))
    ledger.issued("a0", Fingerprint("b" * 64), state, at=BEGUN + timedelta(minutes=3))
    later = BEGUN + timedelta(minutes=4)
    ledger.record_connected(
        {"a0": Fingerprint("b" * 64)}, born={}, trusted={new.fingerprint}, at=later
    )
    assert ledger.observed_certificates("a0")[-1].settled == state
    director = Director(LAST_TASK + 1)
    VmCreationTimes(director, ledger).after(instance(seconds=5))
    assert director.asked == 0


def test_a_task_is_asked_for_once_and_counts_for_brief_listings_too(ledger: ProvenanceFile) -> None:
    """Those do not say when a VM was made."""
    director = Director(LAST_TASK + 1)
    births = VmCreationTimes(director, ledger)
    assert births.after(instance(seconds=5)) == BEGUN
    brief = BoshInstance(deployment="web", group="router", id="0", agent_id="a0", vm_cid="vm-1")
    assert births.after(brief) == BEGUN
    assert director.asked == 1


def test_a_director_that_does_not_say_leaves_it_open(ledger: ProvenanceFile) -> None:
    """It is asked again at the next look."""
    director = Director(away=True)
    births = VmCreationTimes(director, ledger)
    for _ in range(2):
        assert births.after(instance(seconds=5)) == BEGUN + timedelta(seconds=5) - CLOCK_SKEW
    assert director.asked == 2
