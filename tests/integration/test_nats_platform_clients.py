"""The platform of NATS clients, and the drain of servers, with real clients on real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rigs.nats_fleet_rig import (
    ALONE,
    CLIENT,
    CLIENT_PORT,
    Rig,
    client_group,
    connected,
    go_on,
    only,
    rig,
    rotating,
    seen,
    wait_until,
    write_material,
)
from rollover.delivery import client_status
from rollover.errors import EvidenceMissing
from rollover.fleet.evidence import Applied, Fact, Failed, Order
from rollover.fleet.fleet import Availability, Touch
from rollover.fleet.names import InstanceName
from rollover.platforms.nats.connections import ConnectionRoster

NAME = InstanceName("c1")


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Rig]:
    """One server that trusts both CAs, and the files of a client with a leaf of the old one."""
    with rig(tmp_path) as running:
        order = running.trust_both(running.names[0])
        result = only(running.platform().roll_out((order,), pacing=ALONE, stopping=go_on))
        assert isinstance(result, Applied), result
        write_material(tmp_path / NAME, running.issue(running.old, NAME), running.both())
        yield running


def reissue(running: Rig) -> Order:
    """Order the client a leaf of the new CA."""
    return running.order(NAME, leaf=running.issue(running.new, NAME), endpoints=(CLIENT,))


def test_a_client_of_our_library_takes_leaf_and_trust_by_itself(single: Rig) -> None:
    """It reports both, a server sees the new leaf, and it is observed so afterwards."""
    platform = single.clients(client_group(NAME, touch=Touch.WATCH, status=True))
    with rotating(single, NAME):
        (before,) = platform.observe((NAME,))
        assert seen(before, CLIENT).trusts == single.both()
        order = reissue(single)
        result = only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))
        assert isinstance(result, Applied), result
        assert {evidence.by for evidence in result.evidence} == {"disk", "status file", "connz"}
        shrink = single.order(NAME, bundle=(single.old.certificate,), endpoints=(CLIENT,))
        assert isinstance(only(platform.roll_out((shrink,), pacing=ALONE, stopping=go_on)), Applied)
        (after,) = platform.observe((NAME,))
    assert after.availability is Availability.READY
    assert seen(after, CLIENT).presents == order.endpoints[0].chain
    assert seen(after, CLIENT).trusts == (single.old.certificate,)


def test_a_restart_with_the_same_leaf_shows_only_in_another_connection(single: Rig) -> None:
    """The connection from before the restart command is no evidence for the new bundle."""
    plain = client_group(NAME, touch=Touch.RESTART)
    idle = msgspec.structs.replace(plain.instances[0], restart=("true",))
    group = msgspec.structs.replace(plain, instances=(idle,), confirm_seconds=1.0)
    order = single.order(NAME, bundle=(single.old.certificate,), endpoints=(CLIENT,))
    with connected(single.servers[0].url, single.base / NAME, name=NAME):
        platform = single.clients(group)
        result = only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Failed), result
    assert "did not connect with its new files" in result.message


def test_what_a_client_cannot_use_is_put_back(single: Rig) -> None:
    """A bundle without the server's CA: the client keeps what it has and says why."""
    group = client_group(NAME, touch=Touch.WATCH, status=True)
    platform = single.clients(msgspec.structs.replace(group, confirm_seconds=3.0))
    folder = single.base / NAME
    before = (folder / "ca.crt").read_bytes()
    order = single.order(NAME, bundle=(single.new.certificate,), endpoints=(CLIENT,))
    with rotating(single, NAME):
        result = only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Failed)
    assert result.code == "verification"
    assert result.restored
    assert (folder / "ca.crt").read_bytes() == before


def test_a_client_that_does_not_run_has_its_files_and_a_note(single: Rig) -> None:
    """It starts with what was delivered: that counts as applied, and is told."""
    platform = single.clients(client_group(NAME, touch=Touch.WATCH, status=True))
    order = reissue(single)
    result = only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Applied)
    assert "not running" in result.evidence[-1].observed
    (after,) = platform.observe((NAME,))
    assert after.availability is Availability.READY
    assert seen(after, CLIENT).presents == order.endpoints[0].chain


def test_what_an_ended_process_said_last_counts_for_nothing(single: Rig) -> None:
    """Its status file is still there: the client is told as not running."""
    platform = single.clients(client_group(NAME, touch=Touch.WATCH, status=True))
    with rotating(single, NAME):
        pass
    status_file = single.base / NAME / "status.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    said = msgspec.structs.replace(client_status.read(status_file), pid=ended.pid)
    status_file.write_bytes(msgspec.json.encode(said))
    (observed,) = platform.observe((NAME,))
    assert "not running" in observed.why
    result = only(platform.roll_out((reissue(single),), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Applied), result


def test_a_plain_client_is_made_to_reconnect(single: Rig) -> None:
    """It is cut once, comes back with its new leaf, and a server says so."""
    platform = single.clients(client_group(NAME))
    with connected(single.servers[0].url, single.base / NAME, name=NAME):
        result = only(platform.roll_out((reissue(single),), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Applied), result
    assert result.evidence[-1].by == "connz"


def test_a_client_that_comes_back_with_its_old_leaf_has_not_taken_the_new_one(single: Rig) -> None:
    """It keeps in memory what it began with: this is told, and its files come back."""
    group = msgspec.structs.replace(client_group(NAME), confirm_seconds=3.0)
    before = (single.base / NAME / "tls.crt").read_bytes()
    url = single.servers[0].url
    with connected(url, single.base / NAME, name=NAME, rereads=False):
        platform = single.clients(group)
        result = only(platform.roll_out((reissue(single),), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Failed)
    assert "did not connect with its new files" in result.message
    assert (single.base / NAME / "tls.crt").read_bytes() == before


def test_a_client_that_no_server_sees_cannot_be_confirmed(single: Rig) -> None:
    """No status file and no connection under its name: its files come back."""
    platform = single.clients(client_group(NAME))
    before = (single.base / NAME / "tls.crt").read_bytes()
    result = only(platform.roll_out((reissue(single),), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Failed)
    assert (result.code, result.restored) == (EvidenceMissing.code, True)
    assert (single.base / NAME / "tls.crt").read_bytes() == before


def test_a_bundle_that_nothing_can_show_is_not_delivered_silently(single: Rig) -> None:
    """A watching client without a status file: nothing would tell whether it took its trust."""
    platform = single.clients(client_group(NAME, touch=Touch.WATCH))
    order = single.order(NAME, bundle=(single.old.certificate,), endpoints=(CLIENT,))
    result = only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))
    assert isinstance(result, Failed)
    assert "status_file" in result.hint


def test_an_old_leaf_that_is_still_connected_may_still_be_used(single: Rig) -> None:
    """A plain client holds what it began with, whatever its files say now."""
    old = seen(next(iter(single.clients(client_group(NAME)).observe((NAME,)))), CLIENT).presents
    platform = single.clients(client_group(NAME))
    platform._known = lambda: old
    with connected(single.servers[0].url, single.base / NAME, name=NAME):
        write_material(single.base / NAME, single.issue(single.new, NAME), single.both())
        (observed,) = platform.observe((NAME,))
    assert [state[0].presents for state in observed.may_use] == [old]


def test_holdouts_are_those_with_a_retired_or_unknown_issuer(single: Rig) -> None:
    """The old CA's leaf holds up its withdrawal, a stranger is told as such, the rest is fine."""
    for name, authority in (("old-one", single.old), ("new-one", single.new)):
        write_material(single.base / name, single.issue(authority, name), single.both())
    write_material(single.base / "stranger", single.new.issue("stranger"), single.both())
    platform, url = single.platform(), single.servers[0].url
    with (
        connected(url, single.base / "old-one", name="old-one"),
        connected(url, single.base / "new-one", name="new-one"),
        connected(url, single.base / "stranger", name="stranger"),
    ):
        found = list(platform.holdouts(single.names, retired=[single.old.certificate]))
        by_account = list(
            single.platform(group=single.group(monitor=False)).holdouts(
                single.names, retired=[single.old.certificate]
            )
        )
    assert {holdout.peer: holdout.issuer_name for holdout in found} == {
        "old-one": "CN=old",
        "stranger": "",
    }
    assert {entry.connection for entry in by_account} == {entry.connection for entry in found}


def test_connections_that_cannot_be_listed_are_no_proof(single: Rig) -> None:
    """Neither a monitor nor a system account: an empty list would be a lie."""
    platform = single.platform(system=False, group=single.group(monitor=False))
    with pytest.raises(EvidenceMissing, match="cannot be listed"):
        list(platform.holdouts(single.names, retired=[single.old.certificate]))


def test_cycling_moves_our_clients_and_cuts_the_others(single: Rig) -> None:
    """The library's client leaves at the notice, a plain one is kicked; none holds on."""
    write_material(single.base / "plain", single.issue(single.old, "plain"), single.both())
    write_material(single.base / "ours", single.issue(single.old, "ours"), single.both())
    platform = single.platform(notice_seconds=5.0)
    with (
        connected(single.servers[0].url, single.base / "plain", name="plain"),
        rotating(single, "ours"),
    ):
        before = list(platform.holdouts(single.names, retired=[single.old.certificate]))
        assert {holdout.peer for holdout in before} == {"plain", "ours"}
        evidence = list(platform.cycle(before))
        left = {holdout.connection for holdout in before}
        wait_until(
            lambda: not left & {view.cid for _, view in platform.connections()}, "all have moved"
        )
    assert all(item.holds and item.fact is Fact.DRAINED for item in evidence)
    assert {item.subject.endpoint for item in evidence} == {CLIENT_PORT}
    told = {"plain" if "`plain`" in item.observed else "ours": item.observed for item in evidence}
    assert "LDM" in told["ours"]
    assert "KICK" in told["plain"]


def test_without_a_system_account_nobody_can_be_asked_to_move(single: Rig) -> None:
    """Every peer is told as not asked, with the reason."""
    platform = single.platform(system=False)
    write_material(single.base / "plain", single.issue(single.old, "plain"), single.both())
    with connected(single.servers[0].url, single.base / "plain", name="plain"):
        before = list(platform.holdouts(single.names, retired=[single.old.certificate]))
        evidence = list(platform.cycle(before))
    assert [item.holds for item in evidence] == [False]
    assert "system account" in evidence[0].observed


def test_many_who_ask_at_once_share_one_listing() -> None:
    """A fresh listing serves every client's question."""
    asked: list[int] = []
    roster = ConnectionRoster(lambda: asked.append(1) or ())  # type: ignore[func-returns-value]  # counts
    for name in ("a", "b", "c"):
        assert roster.of(name) == ()
    assert len(asked) == 1
