"""The platform of nats-servers on real ones: what it sees, what it changes, what it puts back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rigs.nats_fleet_rig import ALONE, CLIENT_PORT, NATS_SERVER, ROUTE, Rig, go_on, only, rig, seen
from rollover.errors import EvidenceMissing, Rejected
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Fact,
    Failed,
    Observation,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, Touch
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.servers import NatsServers
from rollover_lab.nats.lab import make_read_only, make_writable


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Rig]:
    """One server alone."""
    with rig(tmp_path) as running:
        yield running


def apply(platform: NatsServers, order: Order) -> Result:
    """Roll one order out."""
    return only(platform.roll_out((order,), pacing=ALONE, stopping=go_on))


def observe(running: Rig, platform: NatsServers) -> Observation:
    """Observe the first server."""
    return next(iter(platform.observe(running.names[:1])))


def files(running: Rig) -> dict[str, bytes]:
    """Return every file of the first server's material, by name."""
    folder = running.servers[0].folder
    return {path.name: path.read_bytes() for path in folder.glob("*.[ck][re][ty]")}


def test_a_cluster_takes_the_whole_rotation(tmp_path: Path) -> None:
    """Trust both, reissue, withdraw: three servers confirm each, and observation agrees."""
    with rig(tmp_path, 3) as running:
        platform = running.platform()
        leaves = {name: running.issue(running.new, name) for name in running.names}
        everywhere = (CLIENT_PORT, ROUTE)
        for orders in (
            [running.trust_both(name) for name in running.names],
            [running.order(name, leaf=leaf, endpoints=everywhere) for name, leaf in leaves.items()],
            [running.order(name, bundle=(running.new.certificate,)) for name in running.names],
        ):
            results = list(platform.roll_out(orders, pacing=ALONE, stopping=go_on))
            assert all(isinstance(result, Applied) for result in results), results
            assert {result.instance for result in results} == set(running.names)
        for observation in platform.observe(running.names):
            assert observation.availability is Availability.READY, observation.why
            assert observation.may_use == ()
            for name in everywhere:
                shown = seen(observation, name)
                assert shown.presents == (leaves[observation.instance].certificate,)
                assert shown.trusts == (running.new.certificate,)
        old, new = running.identities
        evidence = list(platform.handshakes(running.names, accepted=[new], refused=[old]))
        assert all(item.holds for item in evidence), [e for e in evidence if not e.holds]
        assert sum(item.fact is Fact.ACCEPTS for item in evidence) == 6
        assert sum(item.fact is Fact.REFUSES for item in evidence) == 6


def test_an_applied_order_brings_its_evidence(single: Rig) -> None:
    """Delivered, loaded, presented, advertised and a canary let in: all stand in the result."""
    result = apply(single.platform(), single.trust_both(single.names[0]))
    assert isinstance(result, Applied)
    assert {evidence.fact for evidence in result.evidence} == {
        Fact.DELIVERED,
        Fact.LOADED,
        Fact.PRESENTS,
        Fact.ADVERTISES,
        Fact.ACCEPTS,
    }
    assert {evidence.expected for evidence in result.evidence if evidence.fact is Fact.ACCEPTS} == {
        "accepts ca@1",
        "accepts ca@2",
    }
    assert 0 < result.reload_seconds <= result.seconds
    assert not list(single.servers[0].folder.glob("*.rollover-*"))


def test_the_same_order_twice_is_applied_twice(single: Rig) -> None:
    """Every call may be repeated: the second finds everything as ordered."""
    platform = single.platform()
    for _ in range(2):
        assert isinstance(apply(platform, single.trust_both(single.names[0])), Applied)


@pytest.mark.parametrize("monitor", [True, False])
def test_without_a_system_account_a_signal_does_it(single: Rig, *, monitor: bool) -> None:
    """SIGHUP by pid file; the proof is the load time, or else what the ports show."""
    platform = single.platform(system=False, group=single.group(monitor=monitor))
    result = apply(platform, single.trust_both(single.names[0]))
    assert isinstance(result, Applied), result
    loaded = [evidence.observed for evidence in result.evidence if evidence.fact is Fact.LOADED]
    assert ["by signal" in text for text in loaded] == ([True] if monitor else [])


def test_a_signal_that_nothing_can_prove_is_no_success(single: Rig) -> None:
    """The same files by signal, no monitor: nothing shows whether the server looked at them."""
    platform = single.platform(system=False, group=single.group(monitor=False))
    result = apply(platform, single.order(single.names[0], bundle=(single.old.certificate,)))
    assert isinstance(result, Failed)
    assert result.code == EvidenceMissing.code
    assert "monitor" in result.hint


def test_a_foreign_key_is_refused_before_anything_is_touched(single: Rig) -> None:
    """A key that is not its leaf's never reaches the server."""
    before = files(single)
    leaf, other = single.issue(single.new, "a"), single.issue(single.new, "b")
    result = apply(
        single.platform(), single.order(single.names[0], leaf=leaf._replace(key=other.key))
    )
    assert isinstance(result, Failed)
    assert "not its leaf's" in result.message
    assert result.restored
    assert files(single) == before


def test_what_the_server_refuses_is_put_back_with_its_words(single: Rig) -> None:
    """A new leaf without its key: the server says so, and serves the old one as before."""
    before, platform = files(single), single.platform()
    material = EndpointMaterial(
        endpoint=CLIENT_PORT, chain=(single.issue(single.new, "n1").certificate,)
    )
    was = seen(observe(single, platform))
    result = apply(platform, Order(instance=single.names[0], endpoints=(material,)))
    assert isinstance(result, Failed)
    assert "private key does not match public key" in result.message
    assert result.restored
    assert files(single) == before
    after = observe(single, platform)
    assert (seen(after), after.availability) == (was, Availability.READY)


def test_a_signalled_refusal_is_put_back_too(single: Rig) -> None:
    """Without a system account the refusal is a load time that does not move in time."""
    before = files(single)
    platform = single.platform(system=False, group=single.group(confirm_seconds=2.0))
    material = EndpointMaterial(
        endpoint=CLIENT_PORT, chain=(single.issue(single.new, "n1").certificate,)
    )
    result = apply(platform, Order(instance=single.names[0], endpoints=(material,)))
    assert isinstance(result, Failed)
    assert result.code == "timed-out"
    assert result.restored
    assert files(single) == before


def test_a_missing_bundle_stops_the_reload_not_the_server(single: Rig) -> None:
    """With its `ca` file gone a server refuses every reload and goes on serving."""
    folder, platform = single.servers[0].folder, single.platform()
    (folder / "ca.crt").unlink()
    observed = observe(single, platform)
    assert "ca.crt" in observed.why
    assert seen(observed).trusts == (single.old.certificate,)
    result = apply(platform, single.order(single.names[0], leaf=single.issue(single.old, "n1")))
    assert isinstance(result, Failed)
    assert "ca.crt" in result.message
    assert result.restored
    assert isinstance(apply(platform, single.trust_both(single.names[0])), Applied)


def test_a_directory_in_place_of_a_file_is_a_refusal(single: Rig) -> None:
    """Nothing is written, and observation tells before anybody tries."""
    folder, platform = single.servers[0].folder, single.platform()
    (folder / "ca.crt").unlink()
    (folder / "ca.crt").mkdir()
    observed = observe(single, platform)
    assert observed.availability is Availability.REFUSING
    result = apply(platform, single.trust_both(single.names[0]))
    assert isinstance(result, Failed)
    assert result.restored
    assert seen(observe(single, platform)).trusts == (single.old.certificate,)


def test_a_read_only_server_is_told_at_once_and_left_as_it_was(single: Rig) -> None:
    """Files that cannot be replaced: observed as refusing, and an order fails untouched."""
    folder, platform = single.servers[0].folder, single.platform()
    before = files(single)
    try:
        make_read_only(folder)
    except Rejected:
        pytest.skip("this file system has no immutable flag")
    try:
        observed = observe(single, platform)
        result = apply(platform, single.trust_both(single.names[0]))
    finally:
        make_writable(folder)
    assert observed.availability is Availability.REFUSING
    assert isinstance(result, Failed)
    assert result.restored
    assert files(single) == before


def test_a_stopped_server_is_unreachable_with_the_state_of_its_files(single: Rig) -> None:
    """Its files are what it will start with; an order to it changes nothing."""
    platform = single.platform()
    single.servers[0].stop()
    observed = observe(single, platform)
    assert observed.availability is Availability.UNREACHABLE
    assert str(single.servers[0].client) in observed.why
    assert seen(observed).trusts == (single.old.certificate,)
    before = files(single)
    result = apply(platform, single.trust_both(single.names[0]))
    assert isinstance(result, Failed)
    assert (result.code, result.restored) == ("unreachable", True)
    assert files(single) == before


def test_files_that_are_not_loaded_are_what_the_server_may_use(single: Rig) -> None:
    """What counts is what the port shows; the files on disk would come with the next reload."""
    folder, platform = single.servers[0].folder, single.platform()
    (folder / "ca.crt").write_bytes(write_certificates(single.both()))
    observed = observe(single, platform)
    assert seen(observed).trusts == (single.old.certificate,)
    assert observed.availability is Availability.READY
    ((future,),) = observed.may_use
    assert future.trusts == single.both()


def test_a_bundle_that_nobody_knows_makes_the_server_unusable_for_plans(single: Rig) -> None:
    """The port accepts a CA that stands in no file and in no list: this is said, not guessed."""
    folder, platform = single.servers[0].folder, single.platform()
    (folder / "ca.crt").write_bytes(write_certificates((single.new.certificate,)))
    single.old = single.new
    observed = observe(single, platform)
    assert observed.availability is Availability.UNREACHABLE
    assert "CN=old" in observed.why


def test_an_unconfirmed_delivery_is_recognised_by_its_kept_copies(single: Rig) -> None:
    """A rotator that was killed before the reload: the kept files are in use, the new ones next."""
    platform, folder = single.platform(), single.servers[0].folder
    for name, content in files(single).items():
        (folder / f"{name}.rollover-kept").write_bytes(content)
    leaf = single.issue(single.new, "n1")
    (folder / "tls.crt").write_bytes(write_certificates((leaf.certificate,)))
    (folder / "ca.crt").write_bytes(write_certificates(single.both()))
    single.identities = ()
    observed = observe(single, platform)
    assert seen(observed).trusts == (single.old.certificate,)
    assert seen(observed).presents != (leaf.certificate,)
    assert [state[0].presents for state in observed.may_use] == [(leaf.certificate,)]


def test_an_ignored_server_is_observed_all_the_same(single: Rig) -> None:
    """It counts as left behind, with its reason, and its state is known."""
    group = single.group()
    ignored = msgspec.structs.replace(group.instances[0], ignored="under repair")
    platform = single.platform(group=msgspec.structs.replace(group, instances=(ignored,)))
    observed = observe(single, platform)
    assert observed.availability is Availability.IGNORED
    assert "under repair" in observed.why
    assert seen(observed).trusts == (single.old.certificate,)


def test_after_a_failure_no_further_server_is_begun(tmp_path: Path) -> None:
    """The canary fails: the others keep their files, and no result is made up for them."""
    with rig(tmp_path, 3) as running:
        platform = running.platform()
        bad = EndpointMaterial(
            endpoint=CLIENT_PORT, chain=(running.issue(running.new, "x").certificate,)
        )
        orders = [Order(instance=name, endpoints=(bad,)) for name in running.names]
        results = list(platform.roll_out(orders, pacing=ALONE, stopping=go_on))
        assert [result.instance for result in results] == [running.names[0]]
        assert isinstance(results[0], Failed)


def test_evidence_of_a_wrong_expectation_does_not_hold(single: Rig) -> None:
    """An identity that must be let in and is not, and the other way round, are told."""
    old, new = single.identities
    evidence = list(single.platform().handshakes(single.names, accepted=[new], refused=[old]))
    holds = {item.fact: item.holds for item in evidence}
    assert holds == {
        Fact.PRESENTS: True,
        Fact.ADVERTISES: True,
        Fact.ACCEPTS: False,
        Fact.REFUSES: False,
    }


@pytest.mark.parametrize("material", ["leaf", "bundle"])
def test_a_reload_that_does_not_reach_the_port_is_no_success(single: Rig, material: str) -> None:
    """The fleet file names files that the server does not load: the port gives it away."""
    folder, group = single.servers[0].folder, single.group(confirm_seconds=2.0)
    elsewhere = {
        "leaf": {"certificate": "other.crt", "key": "other.key"},
        "bundle": {"ca": "other.ca"},
    }[material]
    for field, name in elsewhere.items():
        suffix = {"certificate": "tls.crt", "key": "tls.key", "ca": "ca.crt"}[field]
        (folder / name).write_bytes((folder / suffix).read_bytes())
    (port,) = group.instances[0].endpoints
    wrong = msgspec.structs.replace(
        group.instances[0], endpoints=(msgspec.structs.replace(port, **elsewhere),)
    )
    before = {name: (folder / name).read_bytes() for name in elsewhere.values()}
    order = (
        single.order(single.names[0], leaf=single.issue(single.old, "n1"))
        if material == "leaf"
        else single.trust_both(single.names[0])
    )
    platform = single.platform(group=msgspec.structs.replace(group, instances=(wrong,)))
    single.identities = single.identities[:1]
    result = apply(platform, order)
    assert isinstance(result, Failed)
    assert result.code == "verification"
    assert "client-port" in result.message
    assert result.restored
    assert {name: (folder / name).read_bytes() for name in elsewhere.values()} == before


def test_the_connection_that_asks_is_not_among_those_listed(single: Rig) -> None:
    """Without a monitor the system account is asked, by a connection of our own."""
    platform = single.platform(group=single.group(monitor=False))
    assert list(platform.connections()) == []


_RESTART = """
import os, signal, subprocess, sys, time
sys.path.insert(0, {tests!r})
from rigs.patience import Patience
os.chdir({folder!r})
old = int(open("server.pid").read())
os.kill(old, signal.SIGKILL)
patience = Patience(60)
while open(f"/proc/{{old}}/stat").read().split()[2] != "Z" and patience.lasts():
    time.sleep(0.02)
log = open("server.log", "ab")
subprocess.Popen(
    [{binary!r}, "-c", "server.conf"], stdout=log, stderr=log, start_new_session=True
)
"""


def test_a_group_that_must_restart_is_restarted_by_its_command(single: Rig) -> None:
    """The operator's command runs, and the server comes back with what was delivered."""
    server = single.servers[0]
    script = single.base / "restart.py"
    tests = Path(__file__).resolve().parents[1]
    script.write_text(
        _RESTART.format(folder=str(server.folder), binary=str(NATS_SERVER), tests=str(tests))
    )
    group = single.group()
    instance = msgspec.structs.replace(group.instances[0], restart=(sys.executable, str(script)))
    group = msgspec.structs.replace(group, touch=Touch.RESTART, instances=(instance,))
    platform = single.platform(group=group)
    try:
        result = apply(platform, single.trust_both(single.names[0]))
    finally:
        os.kill(int((server.folder / "server.pid").read_text()), signal.SIGKILL)
    assert isinstance(result, Applied), result
    assert any("by restart" in evidence.observed for evidence in result.evidence)


def test_a_restart_command_that_fails_is_told_and_the_files_come_back(single: Rig) -> None:
    """Its exit code and its words stand in the message; the server was never touched."""
    before, group = files(single), single.group()
    instance = msgspec.structs.replace(
        group.instances[0],
        restart=(sys.executable, "-c", "import sys; sys.exit('no such unit')"),
    )
    group = msgspec.structs.replace(group, touch=Touch.RESTART, instances=(instance,))
    result = apply(single.platform(group=group), single.trust_both(single.names[0]))
    assert isinstance(result, Failed)
    assert "no such unit" in result.message
    assert result.restored
    assert files(single) == before
