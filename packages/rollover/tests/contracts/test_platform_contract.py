"""What every platform promises to the engine, held against memory and against real NATS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from rigs.memory_platform import Fault, MemoryInstance, MemoryPlatform
from rigs.nats_fleet_rig import (
    ALONE,
    CLIENT,
    CLIENT_PORT,
    Authority,
    Rig,
    client_group,
    connected,
    go_on,
    now,
    rig,
    rotating,
    write_material,
)
from rollover.engine.ports import Pacing, Platform
from rollover.errors import EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Fact,
    Failed,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName

FIRST, SECOND = InstanceName("n1"), InstanceName("n2")
BOTH = (FIRST, SECOND)


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A platform with two instances that trust and present the old CA, and what can befall them."""

    platform: Platform
    endpoint: EndpointName
    old: Authority
    new: Authority
    make_refuse: Callable[[InstanceName], None]
    stop: Callable[[InstanceName], None] | None = None
    """None: one that is stopped is not unreachable, because its files are all there is to it."""
    guest: Callable[[InstanceName], AbstractContextManager[object]] | None = None
    """Keeps a connection through the endpoint, with a leaf of the old CA; None: nobody dials it."""

    @property
    def identities(self) -> tuple[Identity, Identity]:
        """What Rollover presents: from the old CA and from the new one."""
        return self.old.identity("ca@1"), self.new.identity("ca@2")

    def trust_both(self, name: InstanceName) -> Order:
        """Order an instance to trust the new CA too."""
        bundle = (self.old.certificate, self.new.certificate)
        return Order(
            instance=name, endpoints=(EndpointMaterial(endpoint=self.endpoint, bundle=bundle),)
        )

    def reissue(self, name: InstanceName) -> Order:
        """Order an instance a leaf of the old CA: everybody accepts that at any time."""
        leaf = self.old.issue(name)
        material = EndpointMaterial(endpoint=self.endpoint, chain=(leaf.certificate,), key=leaf.key)
        return Order(instance=name, endpoints=(material,))

    def observe(self, name: InstanceName) -> Observation:
        """Observe one instance."""
        (found,) = self.platform.observe((name,))
        return found

    def seen(self, name: InstanceName) -> ObservedEndpoint:
        """Return what the endpoint of an instance uses."""
        return next(e for e in self.observe(name).endpoints if e.endpoint == self.endpoint)

    def roll_out(self, *orders: Order, stopping: Callable[[], bool] = go_on) -> list[Result]:
        """Roll orders out, one after another."""
        return list(self.platform.roll_out(orders, pacing=Pacing(), stopping=stopping))


@contextmanager
def in_memory(_: Path) -> Iterator[Subject]:
    """The reference."""
    old, new = Authority("old"), Authority("new")
    endpoint = EndpointDescription(name=CLIENT_PORT, role=Role.CLIENT_PORT, verify=True)
    group = GroupDescription(
        name=GroupName("servers"),
        platform="memory",
        instances=tuple(InstanceDescription(name=name, endpoints=(endpoint,)) for name in BOTH),
    )
    states = {name: (_state(old, name),) for name in BOTH}
    platform = MemoryPlatform(group, states, clock=now)
    yield Subject(
        platform=platform,
        endpoint=CLIENT_PORT,
        old=old,
        new=new,
        make_refuse=lambda name: platform.instance(name).fail(Fault.REFUSES),
        stop=lambda name: platform.instance(name).fail(Fault.UNREACHABLE),
        guest=lambda name: _connected_in_memory(platform.instance(name), old),
    )


@contextmanager
def _connected_in_memory(instance: MemoryInstance, old: Authority) -> Iterator[None]:
    leaf, issuer = old.issue("guest").certificate, old.certificate.fingerprint
    made = instance.connect("guest", leaf, issuer, role=Role.CLIENT_PORT)
    yield
    instance.disconnect(made.number)


def _state(authority: Authority, name: str) -> ObservedEndpoint:
    leaf = authority.issue(name).certificate
    return ObservedEndpoint(endpoint=CLIENT_PORT, presents=(leaf,), trusts=(authority.certificate,))


@contextmanager
def nats_servers(base: Path) -> Iterator[Subject]:
    """Two real servers in a cluster."""
    with rig(base, 2) as running:
        servers = {server.name: server for server in running.servers}

        def guest(name: InstanceName) -> AbstractContextManager[object]:
            leaf = running.issue(running.old, "guest")
            write_material(base / "guest", leaf, (running.old.certificate,))
            return connected(servers[name].url, base / "guest", name="guest")

        yield Subject(
            platform=running.platform(),
            endpoint=CLIENT_PORT,
            old=running.old,
            new=running.new,
            make_refuse=lambda name: _block(base / name),
            stop=lambda name: servers[name].stop(),
            guest=guest,
        )


@contextmanager
def nats_clients(base: Path) -> Iterator[Subject]:
    """Two clients of our library on a real server that trusts both CAs."""
    (base / "server").mkdir()
    with rig(base / "server") as running, ExitStack() as stack:
        platform = running.platform()
        order = running.trust_both(running.names[0])
        (applied,) = platform.roll_out((order,), pacing=ALONE, stopping=go_on)
        assert isinstance(applied, Applied), applied
        clients = Rig(base, running.servers, running.old)
        for name in BOTH:
            leaf = running.old.issue(name)
            write_material(base / name, leaf, (running.old.certificate,))
            stack.enter_context(rotating(clients, name))
        group = client_group(*BOTH, touch=Touch.WATCH, status=True)
        yield Subject(
            platform=clients.clients(group, platform),
            endpoint=CLIENT,
            old=running.old,
            new=running.new,
            make_refuse=lambda name: _block(base / name),
        )


def _block(folder: Path) -> None:
    """Put a directory where the bundle's successor would be staged: nothing can be replaced."""
    for name in ("ca.crt", "tls.crt"):
        (folder / f"{name}.rollover-new").mkdir()


ACCEPTING = {"memory": in_memory, "nats": nats_servers}
EVERY = {**ACCEPTING, "nats-client": nats_clients}


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """The platform under test."""
    with EVERY[request.param](tmp_path) as made:
        yield made


every = pytest.mark.parametrize("subject", EVERY, indirect=True)
accepting = pytest.mark.parametrize("subject", ACCEPTING, indirect=True)


@every
def test_observing_names_each_instance_and_changes_nothing(subject: Subject) -> None:
    """One observation for each, ready, with its whole state; and the same again."""
    found = {observation.instance: observation for observation in subject.platform.observe(BOTH)}
    again = {observation.instance: observation for observation in subject.platform.observe(BOTH)}
    assert set(found) == set(BOTH)
    for name in BOTH:
        assert found[name].availability is Availability.READY, found[name].why
        assert found[name].at.tzinfo is not None
        assert found[name].may_use == ()
        assert found[name].endpoints == again[name].endpoints
        assert subject.seen(name).trusts == (subject.old.certificate,)


@every
def test_what_was_applied_is_what_is_observed(subject: Subject) -> None:
    """Applied means confirmed: bundle, then leaf, each shows at once."""
    results = subject.roll_out(*(subject.trust_both(name) for name in BOTH))
    assert [type(applied) for applied in results] == [Applied, Applied], results
    order = subject.reissue(FIRST)
    (result,) = subject.roll_out(order)
    assert isinstance(result, Applied), result
    assert all(evidence.holds for evidence in result.evidence)
    assert result.evidence
    assert 0 <= result.reload_seconds <= result.seconds
    assert subject.seen(FIRST).presents == order.endpoints[0].chain
    for name in BOTH:
        assert subject.seen(name).trusts == (subject.old.certificate, subject.new.certificate)


@every
def test_an_order_may_be_repeated(subject: Subject) -> None:
    """The same order again is applied again, and changes nothing."""
    order = subject.trust_both(FIRST)
    for _ in range(2):
        (result,) = subject.roll_out(order)
        assert isinstance(result, Applied), result
    assert subject.observe(FIRST).may_use == ()


@every
def test_one_that_refuses_keeps_what_it_had_and_ends_the_rollout(subject: Subject) -> None:
    """The failure is a result with a reason, and the next instance is not begun."""
    before = [subject.seen(name) for name in BOTH]
    subject.make_refuse(FIRST)
    results = subject.roll_out(*(subject.trust_both(name) for name in BOTH))
    (result,) = results
    assert isinstance(result, Failed)
    assert result.instance == FIRST
    assert result.restored
    assert result.code
    assert result.message
    assert [subject.seen(name) for name in BOTH] == before


@every
def test_nothing_is_begun_once_it_is_to_stop(subject: Subject) -> None:
    """A stop before the first instance leaves all as they are."""
    assert subject.roll_out(subject.trust_both(FIRST), stopping=lambda: True) == []
    assert subject.seen(FIRST).trusts == (subject.old.certificate,)


@every
def test_no_result_shows_a_private_key(subject: Subject) -> None:
    """Neither in its text nor in what it holds."""
    order = subject.reissue(FIRST)
    key = order.endpoints[0].key
    assert key is not None
    secret = key.reveal().decode().splitlines()[1]
    results = subject.roll_out(order)
    assert secret not in repr(results)
    assert secret not in repr(order)
    assert secret.encode() not in msgspec.json.encode(results)


@accepting
def test_one_that_does_not_answer_is_told_with_what_is_known(subject: Subject) -> None:
    """Unreachable, with a reason and its last state; an order to it fails and changes nothing."""
    assert subject.stop is not None
    before = subject.seen(FIRST)
    subject.stop(FIRST)
    observed = subject.observe(FIRST)
    assert observed.availability is Availability.UNREACHABLE
    assert observed.why
    assert subject.seen(FIRST) == before
    (result,) = subject.roll_out(subject.trust_both(FIRST))
    assert isinstance(result, Failed)
    assert (result.code, result.restored) == ("unreachable", True)
    assert subject.seen(FIRST) == before


@accepting
def test_handshakes_prove_who_is_let_in(subject: Subject) -> None:
    """Evidence holds exactly where expectation and answer agree, at each instance."""
    old, new = subject.identities
    right = list(subject.platform.handshakes(BOTH, accepted=[old], refused=[new]))
    wrong = list(subject.platform.handshakes(BOTH, accepted=[new], refused=[old]))
    assert all(item.holds for item in right), right
    for evidence in (right, wrong):
        assert {item.subject.instance for item in evidence} == set(BOTH)
        assert {Fact.PRESENTS, Fact.ACCEPTS, Fact.REFUSES} <= {item.fact for item in evidence}
    judged = [item for item in wrong if item.fact in {Fact.ACCEPTS, Fact.REFUSES}]
    assert not any(item.holds for item in judged)


@accepting
def test_one_that_does_not_answer_proves_nothing(subject: Subject) -> None:
    """A silent instance is no evidence of a refusal, and its connections are not called drained."""
    assert subject.stop is not None
    old, new = subject.identities
    subject.stop(FIRST)
    evidence = list(subject.platform.handshakes((FIRST,), accepted=[old], refused=[new]))
    assert evidence
    assert not any(item.holds for item in evidence)
    with pytest.raises(EvidenceMissing):
        list(subject.platform.holdouts((FIRST,), retired=[subject.old.certificate]))


@accepting
def test_a_holdout_says_through_which_port_it_came(subject: Subject) -> None:
    """Trust is withdrawn port by port: who came through another one loses nothing."""
    assert subject.guest is not None
    with subject.guest(FIRST):
        (found,) = subject.platform.holdouts((FIRST,), retired=[subject.old.certificate])
    assert (found.server, found.peer, found.role) == (FIRST, "guest", Role.CLIENT_PORT)


@every
def test_a_group_without_connections_is_drained(subject: Subject) -> None:
    """No holdouts, and nobody to ask."""
    retired: list[Certificate] = [Authority("another").certificate]
    assert list(subject.platform.holdouts(BOTH, retired=retired)) == []
    assert list(subject.platform.cycle(())) == []
