"""What a rotation is begun towards, and what is refused before anything is begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec
import pytest

from rigs.memory_fleet import (
    AUTHORITY,
    BEGUN,
    CLIENTS,
    SERVERS,
    MemoryFleet,
    Through,
    authority,
    conduct,
    first,
)
from rollover.engine.authorities import store_name
from rollover.engine.events import Ending
from rollover.engine.goals import Request
from rollover.engine.service import Rollover
from rollover.errors import AdapterError, EvidenceMissing, SpecError, StoreError, Unreachable
from rollover.fleet.evidence import Observation
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import InstanceName
from rollover.fleet.plan import Plan, Rollout
from rollover.store.credentials import MemoryCredentials


def test_a_ca_that_was_brought_in_is_rotated_to() -> None:
    """`--to` goes to the version with that fingerprint, and once there has nothing to do."""
    fleet = MemoryFleet()
    theirs = fleet.keep(authority("CA of the company"))
    outcome = fleet.rotate(to=theirs)
    assert outcome.ending is Ending.DONE
    assert fleet.issuers() == fleet.trusted() == {"CN=CA of the company"}
    assert fleet.rotate(to=theirs).rollouts == ()
    assert fleet.broken == []


@pytest.mark.parametrize(
    ("begins", "days", "words"),
    [
        (timedelta(days=-10), 5.0, "expired at 2026-11-17"),
        (timedelta(days=1), 100.0, "not valid before 2026-11-23"),
    ],
)
def test_a_ca_that_nobody_would_accept_is_refused(
    begins: timedelta, days: float, words: str
) -> None:
    """Expired or not yet valid: an error with the date, and nothing is begun."""
    fleet = MemoryFleet()
    theirs = fleet.keep(authority("CA out of time", begins=begins, days=days))
    with pytest.raises(SpecError, match=words):
        fleet.rotate(to=theirs)
    assert fleet.journal.entries() == ()


def test_a_ca_without_a_key_is_refused() -> None:
    """Nothing could be issued from it: an error that says how to bring the key in."""
    fleet = MemoryFleet()
    theirs = fleet.keep(authority("CA without a key"), key=False)
    with pytest.raises(StoreError, match="no key for version") as caught:
        fleet.rotate(to=theirs)
    assert "authority import" in caught.value.hint
    assert fleet.journal.entries() == ()


def test_a_rollback_without_the_old_key_is_refused_and_changes_nothing() -> None:
    """The old CA's key is gone from the store: an error, and the rotation stays as it was."""
    fleet = MemoryFleet()
    fleet.rotate()
    entries = fleet.journal.entries()
    full = fleet.credentials
    fleet.credentials = _without_key(full, fleet.ca.certificate.fingerprint)
    with pytest.raises(StoreError, match="no key for version"):
        fleet.roll_back()
    assert fleet.journal.entries() == entries
    assert fleet.issuers() == {"CN=CA 2"}
    assert fleet.rotate().rollouts == ()
    fleet.credentials = full
    assert fleet.roll_back().ending is Ending.DONE
    assert fleet.issuers() == {"CN=CA 1"}


def _without_key(credentials: MemoryCredentials, fingerprint: str) -> MemoryCredentials:
    copy = MemoryCredentials()
    for name in credentials.names():
        for version in reversed(credentials.versions(name)):
            known = version.has_key and version.fingerprint != fingerprint
            copy.add(
                name,
                version.chain,
                key=credentials.private_key(name, version.number) if known else None,
                flags=version.flags,
                at=version.created_at,
            )
    return copy


def test_a_rollback_to_a_ca_that_has_expired_is_refused() -> None:
    """Going back would break everything: said before it is begun."""
    fleet = MemoryFleet()
    fleet.rotate()
    entries = fleet.journal.entries()
    fleet.now = BEGUN + timedelta(days=3700)
    with pytest.raises(SpecError, match="expired"):
        fleet.roll_back()
    assert fleet.journal.entries() == entries


def test_there_is_nothing_to_take_back_before_the_first_rotation() -> None:
    """A rollback of nothing is an error."""
    with pytest.raises(SpecError, match="never rotated"):
        MemoryFleet().roll_back()


def test_a_leaked_ca_vouches_for_nothing() -> None:
    """`--compromised` with `--cross-sign` contradict each other."""
    with pytest.raises(SpecError, match="excludes"):
        MemoryFleet().rotate(compromised=True, cross_sign=True)


def test_a_leaked_ca_is_no_standby() -> None:
    """With a standby too, an emergency leaves no trust in the CA that leaked."""
    fleet = MemoryFleet()
    assert fleet.rotate(compromised=True, standby=True).ending is Ending.DONE
    assert fleet.trusted() == {"CN=CA 2", "CN=CA 3"}


def test_an_emergency_after_a_finished_rotation_begins_another() -> None:
    """The CA in use leaked: `--compromised` alone leads away from it, and is done once it is."""
    fleet = MemoryFleet()
    fleet.rotate()
    assert fleet.rotate(compromised=True).ending is Ending.DONE
    assert fleet.trusted() == fleet.issuers() == {"CN=CA 3"}
    assert fleet.rotate(compromised=True).rollouts == ()
    with pytest.raises(SpecError, match="leaked"):
        fleet.roll_back()


def test_an_instance_that_never_answered_is_named_before_anything_is_begun() -> None:
    """Nothing is known of its state, so nothing could be proven for it."""

    class Silent(Through):
        def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
            for observation in super().observe(instances):
                silent = observation.instance == "n2"
                why = "connection refused"
                yield (
                    msgspec.structs.replace(observation, endpoints=(), why=why)
                    if silent
                    else observation
                )

    fleet = MemoryFleet()
    fleet.platforms[SERVERS] = Silent(fleet.memory[SERVERS])
    with pytest.raises(EvidenceMissing, match=r"`n2` \(connection refused\)"):
        fleet.rotate()
    assert fleet.journal.entries() == ()


def test_a_fleet_of_another_ca_has_nothing_to_rotate() -> None:
    """Nobody presents a certificate of the authority: a wrong fleet file, and said so."""
    fleet = MemoryFleet()
    foreign = authority("somebody else's")
    for name, instance in fleet.instances():
        leaf = foreign.leaf(name)
        instance.give(
            tuple(
                msgspec.structs.replace(seen, presents=(leaf,), trusts=(foreign.certificate,))
                for seen in instance.state
            )
        )
    with pytest.raises(SpecError, match="nothing in the fleet presents"):
        fleet.rotate()


def test_a_platform_that_fails_as_a_whole_is_in_the_journal() -> None:
    """Its error comes out as it is; status knows that the run has ended, and the next goes on."""

    class Broken(Through):
        def observe(
            self,
            instances: Sequence[InstanceName],  # noqa: ARG002 - none of them answers
        ) -> Iterator[Observation]:
            raise Unreachable("no route", system="platform", operation="observe")

    fleet = MemoryFleet()
    with pytest.raises(AdapterError):
        fleet.rotate(conduct(approve=lambda *_: _breaks(fleet, Broken(fleet.memory[CLIENTS]))))
    assert fleet.journal.entries()[-1].kind is EntryKind.INTERRUPTED
    fleet.platforms[CLIENTS] = fleet.memory[CLIENTS]
    assert fleet.rotate().ending is Ending.DONE


def _breaks(fleet: MemoryFleet, platform: Through) -> bool:
    fleet.platforms[CLIENTS] = platform
    return True


def test_a_plan_is_made_from_the_unfinished_rotation_or_for_what_is_asked() -> None:
    """Without wishes a plan shows what is left; with others it shows what that would take."""
    fleet = MemoryFleet()
    fleet.rotate(first(2))
    rollover = Rollover(fleet.site())
    assert len(rollover.plan(Request(authority=AUTHORITY)).rollouts) == 3
    standby = rollover.plan(Request(authority=AUTHORITY, standby=True))
    assert isinstance(standby.goal, RotateAuthority)
    assert len(standby.goal.trusted) == 3


def test_specimens_and_leaves_stay_out_of_the_authoritys_versions() -> None:
    """A rotation adds one version to the authority, and a leaf for each instance to the store."""
    fleet = MemoryFleet()
    fleet.rotate()
    assert len(fleet.credentials.versions(store_name(AUTHORITY))) == 2
    leaves = [name for name in fleet.credentials.names() if name.startswith("/fleets/")]
    assert len(leaves) == 5


def test_rollouts_of_a_new_ca_name_its_version() -> None:
    """Whoever is asked for approval reads `nats-ca@2`, also when that CA was made a moment ago."""
    said: list[str | None] = []

    def approve(_plan: Plan, rollout: Rollout) -> bool:
        said.extend(change.present for change in rollout.changes if change.present is not None)
        return True

    fleet = MemoryFleet()
    assert fleet.rotate(conduct(approve=approve)).ending is Ending.DONE
    assert set(said) == {f"{AUTHORITY}@2"}
