"""A source in memory: it delivers what it holds, whatever was ordered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rigs.memory_platform import MemoryPlatform, MemorySource
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
    ObservedEndpoint,
    Order,
    Result,
    Signer,
)
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE, MBUS = EndpointName("agents"), EndpointName("mbus")
VM, AGENT = InstanceName("director/0"), InstanceName("a1")


def certificate(name: str) -> Certificate:
    """A certificate that is only a name."""
    return Certificate(
        fingerprint=Fingerprint(name),
        subject=f"CN={name}",
        issuer_name="",
        serial=1,
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=1),
    )


OLD, NEW = certificate("old"), certificate("new")


class Pair:
    """A director that signs with the old CA, and one agent that it feeds."""

    def __init__(self) -> None:
        signs = EndpointDescription(name=SOURCE, role=Role.SOURCE)
        fed = EndpointDescription(name=MBUS, role=Role.CLIENT, source="director/agents")
        self.director = self._platform("director", VM, signs, ObservedEndpoint(
            endpoint=SOURCE, presents=(OLD,), trusts=(OLD,)
        ))  # fmt: skip
        self.agents = self._platform("agents", AGENT, fed, ObservedEndpoint(
            endpoint=MBUS, presents=(certificate("old leaf"),), trusts=(OLD,)
        ), source=MemorySource(self.held, self.issue))  # fmt: skip

    @staticmethod
    def _platform(
        group: str,
        name: InstanceName,
        endpoint: EndpointDescription,
        seen: ObservedEndpoint,
        source: MemorySource | None = None,
    ) -> MemoryPlatform:
        described = GroupDescription(
            name=GroupName(group),
            platform="memory",
            instances=(InstanceDescription(name=name, endpoints=(endpoint,)),),
        )
        return MemoryPlatform(described, {name: (seen,)}, clock=lambda: NOW, source=source)

    def held(self) -> ObservedEndpoint:
        """What the director holds."""
        return self.director.instance(VM).state[0]

    @staticmethod
    def issue(signer: Certificate, name: InstanceName) -> Certificate:
        """A leaf that is only a name."""
        return certificate(f"{signer.fingerprint} leaf of {name}")

    def agent(self) -> ObservedEndpoint:
        """What the agent shows."""
        (seen,) = self.agents.observe((AGENT,))
        return seen.endpoints[0]

    @staticmethod
    def give(platform: MemoryPlatform, name: InstanceName, material: EndpointMaterial) -> Result:
        """Roll one order out."""
        order = Order(instance=name, endpoints=(material,))
        (result,) = platform.roll_out((order,), pacing=Pacing(), stopping=lambda: False)
        return result


def test_a_source_that_is_given_a_signer_presents_that_ca() -> None:
    """And hands out its bundle; what it feeds stays as it is until its own rollout."""
    pair = Pair()
    signer = Signer(certificate=NEW, key=SecretBytes(b"key"))
    material = EndpointMaterial(endpoint=SOURCE, signer=signer, bundle=(OLD, NEW))
    assert isinstance(pair.give(pair.director, VM, material), Applied)
    assert (pair.held().presents, pair.held().trusts) == ((NEW,), (OLD, NEW))
    assert pair.agent().trusts == (OLD,)


def test_what_is_fed_gets_a_chain_of_the_signer_and_the_whole_bundle() -> None:
    """Made on the spot, also when only a part was ordered."""
    pair = Pair()
    pair.director.instance(VM).give(
        (ObservedEndpoint(endpoint=SOURCE, presents=(NEW,), trusts=(OLD, NEW)),)
    )
    material = EndpointMaterial(endpoint=MBUS, issuer=NEW)
    assert isinstance(pair.give(pair.agents, AGENT, material), Applied)
    assert pair.agent().presents == (certificate("new leaf of a1"),)
    assert pair.agent().trusts == (OLD, NEW)


def test_an_order_for_what_the_source_does_not_hold_fails_and_changes_nothing() -> None:
    """Neither another issuer nor another bundle can be had of it."""
    pair = Pair()
    before = pair.agent()
    for material in (
        EndpointMaterial(endpoint=MBUS, issuer=NEW),
        EndpointMaterial(endpoint=MBUS, bundle=(OLD, NEW)),
    ):
        result = pair.give(pair.agents, AGENT, material)
        assert isinstance(result, Failed)
        assert result.restored
        assert pair.agent() == before


def test_a_source_is_not_dialled() -> None:
    """It is no TLS party: fresh handshakes say nothing of it."""
    pair = Pair()
    assert list(pair.director.handshakes((VM,), accepted=(), refused=())) == []


def test_an_instance_in_doubt_says_so_until_it_is_given_something() -> None:
    """Its further states are observed, and gone with the next order that it takes."""
    pair = Pair()
    other = (ObservedEndpoint(endpoint=MBUS, presents=(certificate("x"),), trusts=(NEW,)),)
    pair.agents.instance(AGENT).doubt(other)
    (seen,) = pair.agents.observe((AGENT,))
    assert seen.may_use == (other,)
    pair.give(pair.agents, AGENT, EndpointMaterial(endpoint=MBUS, issuer=OLD))
    (seen,) = pair.agents.observe((AGENT,))
    assert seen.may_use == ()
