"""The reference platform: how its faults show, by their names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rigs.memory_platform import Fault, MemoryPlatform
from rollover.engine.ports import Pacing
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Failed,
    Identity,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, Role
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes

NOW = datetime(2026, 7, 1, tzinfo=UTC)
PORT, ONE = EndpointName("client-port"), InstanceName("n1")


def certificate(name: str, *, is_ca: bool = True) -> Certificate:
    """A certificate that is only a name."""
    return Certificate(
        fingerprint=Fingerprint(name),
        subject=f"CN={name}",
        issuer_name="",
        serial=1,
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=1),
        is_ca=is_ca,
    )


OLD, NEW = certificate("old"), certificate("new")


class Waited:
    """Remembers how long was waited."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, seconds: float) -> None:
        """Wait, in a way."""
        self.seconds += seconds


def platform(*, ignored: str = "", wait: Waited | None = None) -> MemoryPlatform:
    """One instance that trusts and presents the old CA."""
    endpoint = EndpointDescription(name=PORT, role=Role.CLIENT_PORT, verify=True)
    described = InstanceDescription(name=ONE, endpoints=(endpoint,), ignored=ignored)
    group = GroupDescription(name=GroupName("g"), platform="memory", instances=(described,))
    state = (
        ObservedEndpoint(
            endpoint=PORT, presents=(certificate("leaf", is_ca=False),), trusts=(OLD,)
        ),
    )
    return MemoryPlatform(
        group, {ONE: state}, clock=lambda: NOW, wait=wait or Waited(), slow_seconds=60.0
    )


def trust_new(made: MemoryPlatform, *, endpoint: EndpointName = PORT) -> Result:
    """Order the instance to trust both."""
    material = EndpointMaterial(endpoint=endpoint, bundle=(OLD, NEW))
    order = Order(instance=ONE, endpoints=(material,))
    (result,) = made.roll_out((order,), pacing=Pacing(), stopping=lambda: False)
    return result


def test_a_liar_is_found_out_and_gets_back_what_it_had() -> None:
    """Its ports show the old state after the order, so the order does not count as applied."""
    made = platform()
    made.instance(ONE).fail(Fault.LIES)
    result = trust_new(made)
    assert isinstance(result, Failed)
    assert result.code == "verification"
    assert made.instance(ONE).state[0].trusts == (OLD,)


def test_one_that_refused_is_observed_so_until_it_is_healed() -> None:
    """Refusing is told by observation after the first refusal, and an order works afterwards."""
    made = platform()
    made.instance(ONE).fail(Fault.REFUSES)
    assert isinstance(trust_new(made), Failed)
    assert next(made.observe((ONE,))).availability is Availability.REFUSING
    made.instance(ONE).heal()
    assert next(made.observe((ONE,))).availability is Availability.READY
    assert isinstance(trust_new(made), Applied)


def test_a_slow_one_takes_its_time_and_is_applied() -> None:
    """The seconds are told, and waited."""
    waited = Waited()
    made = platform(wait=waited)
    made.instance(ONE).fail(Fault.SLOW)
    result = trust_new(made)
    assert isinstance(result, Applied)
    assert result.seconds == waited.seconds == 60.0


def test_only_a_restart_cuts_connections() -> None:
    """What is open outlives an order, except on an instance that restarts for it."""
    made = platform()
    made.instance(ONE).connect("peer", certificate("leaf", is_ca=False), OLD.fingerprint)
    trust_new(made)
    assert [holdout.peer for holdout in made.holdouts((ONE,), retired=[OLD])] == ["peer"]
    made.instance(ONE).fail(Fault.RESTARTS)
    trust_new(made)
    assert list(made.holdouts((ONE,), retired=[OLD])) == []


def test_holdouts_of_unknown_issuers_are_told_and_can_be_cut() -> None:
    """A connection that nobody can judge holds up as well; cycling ends it."""
    made, leaf = platform(), certificate("stranger", is_ca=False)
    made.instance(ONE).connect("stranger", leaf, None)
    made.instance(ONE).connect("fine", leaf, NEW.fingerprint)
    (holdout,) = made.holdouts((ONE,), retired=[OLD])
    assert (holdout.peer, holdout.issuer_name) == ("stranger", "")
    assert all(evidence.holds for evidence in made.cycle((holdout,)))
    assert list(made.holdouts((ONE,), retired=[OLD])) == []


def test_an_ignored_one_is_told_with_its_reason() -> None:
    """Its state is known all the same."""
    observed = next(platform(ignored="under repair").observe((ONE,)))
    assert observed.availability is Availability.IGNORED
    assert "under repair" in observed.why
    assert observed.endpoints[0].trusts == (OLD,)


def test_an_order_for_an_endpoint_that_is_not_there_fails() -> None:
    """It changes nothing."""
    made = platform()
    result = trust_new(made, endpoint=EndpointName("route"))
    assert isinstance(result, Failed)
    assert "route" in result.message
    assert made.instance(ONE).state[0].trusts == (OLD,)


@pytest.mark.parametrize("issuer", ["old", "new"])
def test_an_identity_is_let_in_by_its_issuer(issuer: str) -> None:
    """Who is in the bundle is let in, who is not is turned away."""
    identity = Identity(label="ca@1", issuer=Fingerprint(issuer), chain=(), key=SecretBytes(b"key"))
    made = platform()
    in_bundle = issuer == "old"
    evidence = made.handshakes((ONE,), accepted=[identity], refused=[identity])
    holds = {item.fact.value: item.holds for item in evidence}
    assert holds == {"presents": True, "accepts": in_bundle, "refuses": not in_bundle}
