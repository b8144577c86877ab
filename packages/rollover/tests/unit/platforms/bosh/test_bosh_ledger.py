"""The ledger of agents: what it keeps, and what it concludes from what was seen when."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.bosh_fakes import BEGUN, Ca, ca, fingerprint
from rigs.examples_budget import examples
from rollover.errors import SpecError
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh.provenance import (
    AgentState,
    IssuedCredentials,
    IssuedRecord,
    Provenance,
    ProvenanceFile,
    issued_within,
    possible_states,
    with_connections,
    with_issued_credentials,
    with_settled,
)

HOUR = timedelta(hours=1)
LONG_AGO = BEGUN - timedelta(days=100)


@pytest.fixture(scope="module")
def old() -> Ca:
    """The CA of the beginning."""
    return ca("old")


@pytest.fixture(scope="module")
def new() -> Ca:
    """The CA that follows."""
    return ca("new")


@pytest.fixture
def ledger(tmp_path: Path) -> ProvenanceFile:
    """An empty ledger."""
    return ProvenanceFile(tmp_path / "state" / "agents.json")


def handout(signer: Ca, *bundle: Ca) -> IssuedCredentials:
    """What a director hands out."""
    return IssuedCredentials(
        signer=signer.certificate, bundle=tuple(pair.certificate for pair in bundle)
    )


def state(signer: Ca, *bundle: Ca) -> AgentState:
    """What an agent has that was given it."""
    return AgentState(signer.fingerprint, tuple(pair.fingerprint for pair in bundle))


def look(
    ledger: ProvenanceFile, seen: dict[str, Fingerprint], *trusted: Ca, hours: float
) -> dict[str, tuple[AgentState, ...]]:
    """See agents with certificates, and return what they can hold."""
    at = BEGUN + hours * HOUR
    cas = [pair.fingerprint for pair in trusted]
    born = dict.fromkeys(seen, LONG_AGO)
    ledger.record_connected(seen, born=born, trusted=cas, at=at)
    return {
        agent: ledger.states(agent, trusted=cas, certificate=certificate, born=LONG_AGO, at=at)
        for agent, certificate in seen.items()
    }


def test_while_one_ca_is_trusted_every_agent_comes_from_it(ledger: ProvenanceFile, old: Ca) -> None:
    """Nothing else could be connected."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    assert look(ledger, {"a": fingerprint()}, old, hours=0) == {"a": (state(old, old),)}


def test_a_whole_rotation_is_followed_without_a_doubt(
    ledger: ProvenanceFile, old: Ca, new: Ca
) -> None:
    """Each time the certificate changes after the handout did, there is one explanation."""
    first, second, third = fingerprint(), fingerprint(), fingerprint()
    ledger.record_issued(handout(old, old), at=BEGUN)
    look(ledger, {"a": first, "b": first}, old, hours=0)
    ledger.record_issued(handout(new, old, new), at=BEGUN + 1 * HOUR)
    before = look(ledger, {"a": first, "b": first}, old, new, hours=1.1)
    after = look(ledger, {"a": second, "b": first}, old, new, hours=2)
    ledger.record_issued(handout(new, new), at=BEGUN + 3 * HOUR)
    withdrawn = look(ledger, {"a": second}, new, hours=3.1)
    last = look(ledger, {"a": third}, new, hours=4)
    assert before == {"a": (state(old, old),), "b": (state(old, old),)}
    assert after == {"a": (state(new, old, new),), "b": (state(old, old),)}
    assert withdrawn == {"a": (state(new, old, new),)}
    assert last == {"a": (state(new, new),)}


def test_a_first_look_in_the_middle_of_a_rotation_leaves_both_possible(
    ledger: ProvenanceFile, old: Ca, new: Ca
) -> None:
    """Nobody knows whether an agent was updated before anybody looked."""
    ledger.record_issued(handout(new, old, new), at=BEGUN)
    found = look(ledger, {"a": fingerprint()}, old, new, hours=0)["a"]
    assert set(found) == {state(old, old), state(new, old, new)}


def test_a_change_of_the_handout_that_nobody_timed_leaves_a_doubt(
    ledger: ProvenanceFile, old: Ca, new: Ca
) -> None:
    """`create-env` and a deploy by hand between two looks: the agent may be of either time."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    look(ledger, {"a": fingerprint()}, old, hours=0)
    ledger.record_issued(handout(new, old, new), at=BEGUN + 5 * HOUR)
    found = look(ledger, {"a": fingerprint()}, old, new, hours=5)["a"]
    assert set(found) == {state(old, old), state(new, old, new)}


def test_an_agent_that_is_away_may_have_been_given_anything_since(
    ledger: ProvenanceFile, old: Ca, new: Ca
) -> None:
    """Its last known state, and all that was handed out after it was seen last."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    look(ledger, {"a": fingerprint()}, old, hours=0)
    ledger.record_issued(handout(new, old, new), at=BEGUN + 1 * HOUR)
    found = ledger.states(
        "a",
        trusted=[old.fingerprint, new.fingerprint],
        certificate=None,
        born=LONG_AGO,
        at=BEGUN + 2 * HOUR,
    )
    assert found == (state(old, old), state(new, old, new))


def test_a_vm_that_was_made_after_the_change_has_what_was_handed_out_then(
    ledger: ProvenanceFile, old: Ca, new: Ca
) -> None:
    """A recreated VM needs no history of its own."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    ledger.record_issued(handout(new, old, new), at=BEGUN + 1 * HOUR)
    at = BEGUN + 3 * HOUR
    certificate = fingerprint()
    cas = [old.fingerprint, new.fingerprint]
    ledger.record_connected({"n": certificate}, born={"n": at - HOUR}, trusted=cas, at=at)
    assert ledger.observed_certificates("n")[-1].settled == state(new, old, new)


def test_what_rollover_issued_itself_is_known(ledger: ProvenanceFile, old: Ca, new: Ca) -> None:
    """No conclusion is needed, and it is remembered that the director does not know."""
    ledger.record_issued(handout(new, old, new), at=BEGUN)
    certificate = fingerprint()
    ledger.issued("a", certificate, state(new, old, new), at=BEGUN)
    assert look(ledger, {"a": certificate}, old, new, hours=1)["a"] == (state(new, old, new),)
    assert ledger.observed_certificates("a")[-1].issued_here


def test_everything_is_there_again_for_the_next_process(
    ledger: ProvenanceFile, tmp_path: Path, old: Ca, new: Ca
) -> None:
    """The file is the memory, certificates included."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    ledger.record_issued(handout(new, old, new), at=BEGUN + HOUR)
    look(ledger, {"a": fingerprint()}, old, new, hours=2)
    again = ProvenanceFile(tmp_path / "state" / "agents.json")
    assert again.read() == ledger.read()
    assert [credentials.signer for credentials in again.issued_credentials()] == [
        old.certificate,
        new.certificate,
    ]
    assert again.certificate(new.fingerprint).der == new.certificate.der


def test_the_file_is_private_and_tells_no_key(
    ledger: ProvenanceFile, tmp_path: Path, old: Ca
) -> None:
    """Only its owner reads it."""
    ledger.record_issued(handout(old, old), at=BEGUN)
    path = tmp_path / "state" / "agents.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in path.read_bytes()


def test_two_that_write_at_once_lose_nothing(tmp_path: Path, old: Ca) -> None:
    """Each change is made on what is in the file then, whoever wrote it."""
    path = tmp_path / "agents.json"
    ProvenanceFile(path).record_issued(handout(old, old), at=BEGUN)

    def write(name: str) -> None:
        own = ProvenanceFile(path)
        for number in range(10):
            own.record_connected({f"{name}{number}": fingerprint()}, born={}, trusted=(), at=BEGUN)

    threads = [Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ProvenanceFile(path).read().agents) == 30


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 7}', b"\xff\xfe"])
def test_a_damaged_file_is_told_with_its_place(tmp_path: Path, content: bytes) -> None:
    """It is never taken for an empty one."""
    path = tmp_path / "agents.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"agents\.json.*ledger of agents"):
        ProvenanceFile(path).read()


@given(
    times=st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True).map(sorted),
    span=st.tuples(st.integers(-100, 1100), st.integers(-100, 1100)).map(sorted),
)
@examples(80)
def test_whatever_was_handed_out_in_a_time_is_found(times: list[int], span: list[int]) -> None:
    """For each second of the time, what was handed out then is among the answers."""
    handouts = [
        IssuedRecord(
            signer=Fingerprint(str(at)),
            bundle=(),
            since=None if number == 0 else BEGUN + at * HOUR,
            earliest=None if number == 0 else BEGUN + at * HOUR,
            noted=BEGUN + at * HOUR,
            confirmed=BEGUN + at * HOUR,
        )
        for number, at in enumerate(times)
    ]
    after, until = BEGUN + span[0] * HOUR, BEGUN + span[1] * HOUR
    found = {handed.signer for handed in issued_within(handouts, after=after, until=until)}
    for hour in range(span[0] + 1, span[1] + 1):
        current = max((at for at in times[1:] if at <= hour), default=times[0])
        assert str(current) in found


@given(steps=st.lists(st.sampled_from(["look", "create-env", "deploy", "rush"]), max_size=12))
@examples(60)
def test_the_truth_is_always_among_the_possible_states(steps: list[str]) -> None:
    """Up to two changes by hand between two looks, and any deploys: the ledger rules none out."""
    cas = [_CAS[0], _CAS[1]]
    phases = [
        handout(cas[0], cas[0]),
        handout(cas[1], cas[0], cas[1]),
        handout(cas[1], cas[1]),
        handout(cas[0], cas[1], cas[0]),
    ]
    at, phase, unseen = BEGUN, 0, 0
    book = with_issued_credentials(Provenance(), phases[0], at=at)
    truth, certificate = state(cas[0], cas[0]), fingerprint()
    for step in ["look", *steps, "look"]:
        at += HOUR
        now = phases[phase]
        if step in {"create-env", "rush"} and unseen < 2:
            following = phases[(phase + 1) % len(phases)]
            if truth.signer in {item.fingerprint for item in following.bundle}:
                phase, now, unseen = (phase + 1) % len(phases), following, unseen + 1
        if step in {"deploy", "rush"}:
            truth = AgentState(
                now.signer.fingerprint, tuple(item.fingerprint for item in now.bundle)
            )
            certificate = fingerprint()
        if step != "look":
            continue
        unseen = 0
        trusted = frozenset(item.fingerprint for item in now.bundle)
        book = with_issued_credentials(book, now, at=at)
        book = with_connections(book, {"a": certificate}, at=at)
        book = with_settled(book, trusted=trusted, connected={"a": LONG_AGO}, at=at)
        sighting = book.agents["a"][-1]
        possible = (
            (sighting.settled,)
            if sighting.settled
            else possible_states(
                book.credentials,
                trusted=trusted,
                after=sighting.after or LONG_AGO,
                until=sighting.first_observed,
                connected=True,
            )
        )
        assert truth in possible


_CAS = (ca("one"), ca("two"))
