"""Crashes at every entry of the journal, and lies at every probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import msgspec
import pytest

from rigs.crashing import CrashingJournal, crash_at, first_of_each_kind
from rigs.memory_fleet import CLIENTS, SERVERS, MemoryFleet, Through, conduct
from rigs.memory_platform import MemoryPlatform
from rollover.engine.events import Ending
from rollover.engine.ports import Pacing
from rollover.errors import JournalError
from rollover.fleet.evidence import Evidence, Identity, Order, Result
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import GroupName, InstanceName, RuleId


def _crashes(
    *, written: bool, standby: bool, numbers: Iterable[int] | None = None
) -> Iterator[int]:
    """Run one rotation for each of its entries, with a crash there; yield the rollouts left."""
    for number in numbers or count(1):
        fleet = MemoryFleet(clients=1, standby=standby)
        outcome = crash_at(fleet, number, written=written, standby=standby)
        if outcome is None:
            return
        assert outcome.ending is Ending.DONE, outcome.message
        assert fleet.broken == []
        assert fleet.issuers() == {"CN=CA 2"}
        assert fleet.trusted() == ({"CN=CA 1", "CN=CA 2", "CN=CA 3"} if standby else {"CN=CA 2"})
        fleet.journal.verify()
        yield len(outcome.rollouts)


def test_a_crash_before_any_kind_of_entry_is_gone_on_from() -> None:
    """What was done and not written down is found: same goal, and no link ever breaks."""
    numbers = first_of_each_kind(MemoryFleet(clients=1))
    rollouts = list(_crashes(written=False, standby=False, numbers=numbers))
    assert len(rollouts) == len(numbers) > 7


@pytest.mark.parametrize("written", [pytest.param(False, marks=pytest.mark.soak), True])
def test_a_crash_at_any_entry_is_gone_on_from(*, written: bool) -> None:
    """Before and behind each entry: the next run ends at the same goal, and no link ever breaks."""
    rollouts = list(_crashes(written=written, standby=False))
    assert len(rollouts) > 35
    assert max(rollouts) == 5
    assert min(rollouts) == 0


def test_a_crash_of_a_standby_rotation_makes_no_further_ca() -> None:
    """The CA that was made ahead before the crash is found again."""
    rollouts = list(_crashes(written=True, standby=True))
    assert max(rollouts) == 2


@pytest.mark.parametrize("entry", [1, 2, 4, 5, 7, 10])
def test_a_journal_without_room_stops_the_run(entry: int) -> None:
    """What cannot be recorded is not gone on with; once there is room, the next run does."""
    fleet = MemoryFleet()
    fleet.journal = journal = CrashingJournal()
    journal.full = entry
    with pytest.raises(JournalError, match="no room"):
        fleet.rotate()
    assert len(journal.entries()) == entry - 1
    journal.full = None
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []


class _Forgetful(Through):
    """Says that an order was applied, and has forgotten it by the next look."""

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        before = self.behind.instance(orders[-1].instance).state
        yield from super().roll_out(orders, pacing=pacing, stopping=stopping)
        self.behind.instance(orders[-1].instance).give(before)


class _Lying(Through):
    """Answers the n-th fresh handshake otherwise than what it had shown."""

    def __init__(self, behind: MemoryPlatform, *, at: int) -> None:
        super().__init__(behind)
        self._left = at

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        for evidence in super().handshakes(instances, accepted=accepted, refused=refused):
            self._left -= 1
            yield evidence if self._left else msgspec.structs.replace(evidence, holds=False)

    @property
    def lied(self) -> bool:
        """Whether the lie was told."""
        return self._left <= 0


@pytest.mark.parametrize("group", [SERVERS, CLIENTS])
def test_an_instance_that_forgets_what_it_was_given_stops_the_run(group: str) -> None:
    """Confirmed is not enough: what the next look shows has to be what was ordered."""
    fleet = MemoryFleet()
    fleet.platforms[group] = _Forgetful(fleet.memory[GroupName(group)])
    outcome = fleet.rotate()
    assert outcome.ending is Ending.EVIDENCE_MISSING
    assert outcome.message.startswith("as-ordered: ")
    assert fleet.broken == []
    fleet.platforms[group] = fleet.memory[GroupName(group)]
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []


def test_that_an_instance_forgets_cannot_be_overridden() -> None:
    """Nobody can answer for what is not so: the rotation would go in circles."""
    fleet = MemoryFleet()
    fleet.platforms[SERVERS] = _Forgetful(fleet.memory[SERVERS])
    steered = conduct(overrides={RuleId("as-ordered"): "it will be fine"})
    assert fleet.rotate(steered).ending is Ending.EVIDENCE_MISSING


def test_a_lie_at_any_fresh_handshake_stops_the_run_before_the_next_step() -> None:
    """Whichever handshake goes otherwise than expected; the run after that gets to the goal."""
    for number in count(1):
        fleet = MemoryFleet(servers=1, clients=1)
        lying = _Lying(fleet.memory[SERVERS], at=number)
        fleet.platforms[SERVERS] = lying
        outcome = fleet.rotate()
        if not lying.lied:
            break
        assert outcome.ending is Ending.EVIDENCE_MISSING
        assert outcome.message.startswith("handshake-gate: ")
        assert fleet.journal.entries()[-1].kind is EntryKind.REFUSED
        assert fleet.rotate().ending is Ending.DONE
        assert fleet.broken == []
    # Two ports: what each presents, and whether it lets each of two CAs in; before the first
    # rollout and behind the server's two.
    assert number > 2 * 3 * 3


def test_a_handshake_gate_can_be_answered_for() -> None:
    """With a reason the run goes on; rule and reason are in the journal."""
    fleet = MemoryFleet()
    fleet.platforms[SERVERS] = _Lying(fleet.memory[SERVERS], at=1)
    outcome = fleet.rotate(conduct(overrides={RuleId("handshake-gate"): "a flaky balancer"}))
    assert outcome.ending is Ending.DONE
    overridden = [e for e in fleet.journal.entries() if e.kind is EntryKind.OVERRIDDEN]
    assert [entry.data["reason"] for entry in overridden] == ["a flaky balancer"]
