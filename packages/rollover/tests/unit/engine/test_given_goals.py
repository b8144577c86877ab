"""Bundles and chains that are brought: who gets them, what is refused, resume and rollback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from rigs.memory_fleet import (
    BEGUN,
    CLIENTS,
    HOST,
    PORT,
    ROUTE,
    SERVERS,
    Issued,
    MemoryFleet,
    Through,
    authority,
    conduct,
    first,
)
from rigs.memory_platform import MemoryPlatform
from rollover.engine import material
from rollover.engine.events import Conduct, Ending, Event, Outcome, Planned
from rollover.engine.goals import MaterialIntent, last_intent, read_intent
from rollover.engine.material import MaterialRequest, MaterialResumption
from rollover.engine.service import Rollover
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.fleet import EndpointRef, Role
from rollover.fleet.goal import Installation, InstallMaterial, MaterialKind
from rollover.fleet.names import SYSTEM_ROOTS, InstanceName
from rollover.fleet.plan import Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import LEAF_NODE, issue_leaf
from rollover.pki.keys import generate, to_pem

BUNDLE, CHAIN = MaterialKind.BUNDLE, MaterialKind.CHAIN
WIDER = (authority().certificate, authority("CA of a peer").certificate)


def bring(fleet: MemoryFleet, steered: Conduct | None = None, **asked: Any) -> Outcome:
    """Bring something to the fleet as a process of its own would."""
    request = MaterialRequest(**asked)
    return Rollover(fleet.site()).rotate(request, steered or conduct())


def planned(fleet: MemoryFleet, **asked: Any) -> Plan:
    """Plan to bring something."""
    return Rollover(fleet.site()).plan(MaterialRequest(**asked))


def held(fleet: MemoryFleet) -> dict[str, set[tuple[str, ...]]]:
    """Return whom the endpoints of each kind trust, by subject."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for _, instance in fleet.instances():
        for seen in instance.state:
            subjects = tuple(trust.subject for trust in seen.trusts or ())
            found.setdefault(seen.endpoint, set()).add(subjects)
    return found


def brought_chain(*, by: Issued | None = None) -> tuple[Certificate, SecretBytes]:
    """Return a leaf that somebody else issued, with its key."""
    issuer, key = by or authority(), generate(KeyKind.P256)
    leaf = issue_leaf(
        profile=LEAF_NODE,
        common_name="brought",
        names=(HOST,),
        key=key,
        authority=issuer.certificate,
        authority_key=issuer.key,
        not_before=BEGUN - timedelta(days=1),
        lifetime=timedelta(days=90),
    )
    return leaf, SecretBytes(to_pem(key))


def test_a_wider_bundle_goes_to_everybody_and_is_looked_at_again() -> None:
    """Every group once, nothing breaks; the same again changes nothing."""
    fleet = MemoryFleet()
    outcome = bring(fleet, bundle=WIDER)
    assert outcome.ending is Ending.DONE, outcome.message
    assert sorted(rollout.rollout.group for rollout in outcome.rollouts) == [CLIENTS, SERVERS]
    subjects = tuple(certificate.subject for certificate in WIDER)
    assert held(fleet) == {"port": {subjects}, "route": {subjects}, "client": {subjects}}
    assert fleet.issuers() == {"CN=CA 1"}
    assert fleet.broken == []
    again = bring(fleet, bundle=WIDER)
    assert (again.ending, again.rollouts, again.rotation) == (Ending.DONE, (), outcome.rotation)


def test_it_is_gone_on_with_from_the_store_alone() -> None:
    """What was brought is kept: another process needs neither file nor options."""
    fleet = MemoryFleet()
    stopped = bring(fleet, first(1), bundle=WIDER)
    assert stopped.ending is Ending.DECLINED
    outcome = Rollover(fleet.site()).rotate(MaterialResumption(BUNDLE), conduct())
    assert (outcome.ending, outcome.rotation) == (Ending.DONE, stopped.rotation)
    assert len({bundle for value in held(fleet).values() for bundle in value}) == 1


def test_a_rollback_gives_each_what_it_trusted_before() -> None:
    """Also to those that trusted different things; and it can be taken up after a stop."""
    fleet = MemoryFleet()
    client = fleet.instance("c1")
    other = (authority().certificate, authority("CA of somebody").certificate)
    client.give((msgspec.structs.replace(client.state[0], trusts=other),))
    before = held(fleet)
    assert bring(fleet, bundle=WIDER).ending is Ending.DONE
    library = Rollover(fleet.site())
    assert library.rollback(BUNDLE, first(1)).ending is Ending.DECLINED
    assert library.rollback(BUNDLE, conduct()).ending is Ending.DONE
    assert held(fleet) == before
    assert fleet.broken == []


def test_another_bundle_supersedes_one_that_was_never_finished() -> None:
    """Nothing is half-way about a bundle: the later one simply counts."""
    fleet = MemoryFleet()
    bring(fleet, first(1), bundle=WIDER)
    assert bring(fleet, bundle=WIDER[:1]).ending is Ending.DONE
    assert fleet.trusted() == {"CN=CA 1"}


def test_a_bundle_that_breaks_a_link_is_refused_and_changes_nothing() -> None:
    """The refusal names the link; the journal has it."""
    fleet = MemoryFleet()
    outcome = bring(fleet, bundle=WIDER[1:])
    assert outcome.ending is Ending.REFUSED
    assert "reissue-before-withdraw" in outcome.message
    assert fleet.trusted() == {"CN=CA 1"}
    found = last_intent(fleet.journal, BUNDLE)
    assert found is not None
    assert not found.finished


def test_a_renewal_is_one_rollout_and_needs_its_key() -> None:
    """The chain that was brought is what every server presents; nobody else changes."""
    fleet = MemoryFleet()
    leaf, key = brought_chain()
    asked: dict[str, Any] = {"chain": (leaf,), "groups": (SERVERS,)}
    assert [rollout.group for rollout in planned(fleet, **asked).rollouts] == [SERVERS]
    with pytest.raises(SpecError, match="without its key"):
        bring(fleet, **asked)
    outcome = bring(fleet, **asked, key=key)
    assert outcome.ending is Ending.DONE, outcome.message
    assert set(presented(fleet).values()) == {(leaf,)}
    assert fleet.broken == []
    with pytest.raises(SpecError, match="the keys of the chains before are not here"):
        Rollover(fleet.site()).rollback(CHAIN, conduct())


class Keyed(Through):
    """Servers whose private keys can be read: `keys` by endpoint."""

    def __init__(self, behind: MemoryPlatform, keys: Mapping[EndpointRef, SecretBytes]) -> None:
        super().__init__(behind)
        self.keys = keys

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys of these instances."""
        return {ref: key for ref, key in self.keys.items() if ref.instance in instances}


def presented(fleet: MemoryFleet) -> dict[EndpointRef, tuple[Certificate, ...]]:
    """Return what every endpoint of the servers presents."""
    return {
        EndpointRef(InstanceName(name), seen.endpoint): seen.presents
        for name, each in fleet.instances()
        for seen in each.state
        if name.startswith("n")
    }


def keyed_fleet(*, instead: Mapping[str, SecretBytes | None] = MappingProxyType({})) -> MemoryFleet:
    """Return a fleet whose servers have chains of their own, and keys that can be read.

    `instead`: what lies in the place of a server's key; None: nothing.
    """
    fleet = MemoryFleet()
    keys: dict[EndpointRef, SecretBytes] = {}
    for name in ("n1", "n2"):
        leaf, own = brought_chain()
        server, key = fleet.instance(name), instead.get(name, own)
        server.give(tuple(msgspec.structs.replace(seen, presents=(leaf,)) for seen in server.state))
        for seen in server.state:
            if key is not None:
                keys[EndpointRef(InstanceName(name), seen.endpoint)] = key
    fleet.platforms[str(SERVERS)] = Keyed(fleet.memory[SERVERS], keys)
    return fleet


def test_a_renewal_is_taken_back_with_the_keys_that_lay_there() -> None:
    """Each server gets its own former chain again, also after a stop half-way, and forth again."""
    fleet = keyed_fleet()
    before = presented(fleet)
    assert len(set(before.values())) == 2
    leaf, key = brought_chain()
    asked: dict[str, Any] = {"chain": (leaf,), "groups": (SERVERS,)}
    assert not planned(fleet, **asked).cautions
    assert bring(fleet, **asked, key=key).ending is Ending.DONE
    assert set(presented(fleet).values()) == {(leaf,)}
    library = Rollover(fleet.site())
    assert library.rollback(CHAIN, first(0)).ending is Ending.DECLINED
    assert library.rollback(CHAIN, conduct()).ending is Ending.DONE
    assert presented(fleet) == before
    assert bring(fleet, **asked, key=key).ending is Ending.DONE
    assert set(presented(fleet).values()) == {(leaf,)}


@pytest.mark.parametrize("instead", [None, brought_chain()[1], SecretBytes(b"rubbish")])
def test_a_renewal_whose_former_keys_cannot_be_had_says_so_beforehand(
    instead: SecretBytes | None,
) -> None:
    """One that is missing, of something else, or no key is enough."""
    fleet = keyed_fleet(instead={"n2": instead})
    leaf, key = brought_chain()
    asked: dict[str, Any] = {"chain": (leaf,), "groups": (SERVERS,)}
    (caution,) = planned(fleet, **asked).cautions
    assert caution.rule == "no-way-back"
    shown: list[Plan] = []
    outcome = bring(fleet, conduct(tell=shown_plans(shown)), **asked, key=key)
    assert outcome.ending is Ending.DONE
    assert [item.rule for item in shown[0].cautions] == ["no-way-back"]
    with pytest.raises(SpecError, match="the keys of the chains before are not here"):
        Rollover(fleet.site()).rollback(CHAIN, conduct())


def test_a_chain_that_was_brought_before_is_given_back_from_the_store() -> None:
    """Whatever can be read: its key was kept when it came."""
    fleet = MemoryFleet()
    (first_leaf, first_key), (leaf, key) = brought_chain(), brought_chain()
    for chain, its_key in ((first_leaf, first_key), (leaf, key)):
        outcome = bring(fleet, chain=(chain,), key=its_key, groups=(SERVERS,))
        assert outcome.ending is Ending.DONE
    assert Rollover(fleet.site()).rollback(CHAIN, conduct()).ending is Ending.DONE
    assert set(presented(fleet).values()) == {(first_leaf,)}


def shown_plans(found: list[Plan]) -> Callable[[Event], None]:
    """Return a listener that keeps the plans that it is told."""

    def tell(event: Event) -> None:
        if isinstance(event, Planned):
            found.append(event.plan)

    return tell


def test_a_renewal_by_a_ca_that_nobody_trusts_is_refused() -> None:
    """With its CA as the only trust it breaks the other direction as well."""
    fleet = MemoryFleet()
    leaf, key = brought_chain(by=authority("CA of a peer"))
    outcome = bring(fleet, chain=(leaf,), key=key, bundle=WIDER[1:], groups=(SERVERS,))
    assert outcome.ending is Ending.REFUSED
    assert "rollover rotate --bundle" in outcome.hint or "curated bundle" in outcome.hint
    assert fleet.issuers() == {"CN=CA 1"}


def test_what_cannot_be_meant_is_refused() -> None:
    """Unknown groups, nobody chosen, no CA, no leaf, a key of somebody else."""
    fleet = MemoryFleet()
    leaf, key = brought_chain()
    _, other = brought_chain()
    for asked, said in (
        ({"bundle": WIDER, "groups": ("nobody",)}, "no group `nobody`"),
        ({"bundle": WIDER, "roles": (Role.MQTT,)}, "nobody is chosen"),
        ({"bundle": ()}, "holds no certificate"),
        ({"bundle": (leaf,)}, "is no CA"),
        ({"chain": WIDER}, "does not begin with the certificate of a server"),
        ({"chain": (leaf,), "key": other}, "the key does not belong"),
        ({"bundle": WIDER, "roles": (Role.ROUTE,)}, "only one of them is chosen"),
        ({"chain": (leaf,), "key": key, "roles": (Role.ROUTE,)}, "one file of certificates"),
        ({"bundle": WIDER, "file": "../ca.pem"}, "is no path below"),
        ({"bundle": WIDER, "file": "/etc/ca.pem"}, "is no path below"),
        ({"bundle": WIDER, "file": "ca.pem"}, "cannot be changed from here"),
    ):
        with pytest.raises(SpecError, match=said):
            planned(fleet, **asked)


def test_a_file_that_others_use_is_not_overwritten() -> None:
    """Neither a certificate nor a bundle of somebody who was not chosen; nor one for two."""
    fleet = MemoryFleet()

    def with_config(**more: str) -> None:
        servers = fleet.described.groups[0]
        instances = tuple(
            msgspec.structs.replace(
                instance, config="nats.conf", **more or {"working_directory": instance.name}
            )
            for instance in servers.instances
        )
        groups = (msgspec.structs.replace(servers, instances=instances), fleet.described.groups[1])
        fleet.described = msgspec.structs.replace(fleet.described, groups=groups)

    with_config()
    for file, roles in (("c", ()), ("./c", ()), ("a", (Role.ROUTE,))):
        with pytest.raises(SpecError, match="already"):
            planned(fleet, bundle=WIDER, groups=(SERVERS,), roles=roles, file=file)
    found = planned(fleet, bundle=WIDER, groups=(SERVERS,), roles=(Role.ROUTE,), file="b")
    (assignment,) = found.rollouts[0].assignments
    assert assignment.files == (None, "b")
    with_config(working_directory="one")
    with pytest.raises(SpecError, match="have one directory"):
        planned(fleet, bundle=WIDER, groups=(SERVERS,), roles=(Role.ROUTE,), file="b")


def test_how_a_person_names_another_file_is_said_by_the_platform() -> None:
    """The engine knows of no settings: whoever has them knows who writes them."""
    fleet = MemoryFleet()
    with pytest.raises(SpecError, match="cannot be changed from here") as caught:
        planned(fleet, bundle=WIDER, groups=(SERVERS,), file="new.pem")
    assert caught.value.hint == fleet.memory[SERVERS].renamed_by_hand()


def test_the_chosen_are_written_down_one_by_one() -> None:
    """The goal in the journal says exactly who was meant, whatever is described later."""
    fleet = MemoryFleet()
    bring(fleet, bundle=WIDER, groups=(SERVERS,))
    intent = last_intent(fleet.journal, BUNDLE)
    assert isinstance(intent, MaterialIntent)
    (part,) = intent.goal.parts
    assert part.endpoints == tuple(
        EndpointRef(InstanceName(name), endpoint_name)
        for name in ("n1", "n2")
        for endpoint_name in (PORT, ROUTE)
    )
    assert [installation.bundle for installation in intent.former] == [
        (authority().certificate.fingerprint,)
    ]


def test_what_was_never_supplied_cannot_be_gone_on_with() -> None:
    """Its name says nothing of what it was; the options that would are named."""
    with pytest.raises(SpecError, match="`given-chain` was never begun here"):
        Rollover(MemoryFleet().site()).plan(MaterialResumption(CHAIN))


def test_an_installation_of_an_older_version_is_read_with_its_way_back() -> None:
    """It stood in a goal of the only kind, by the name of a pretended authority."""
    refs = [{"instance": name, "endpoint": "port"} for name in ("n1", "n2")]
    wide, narrow = ["a" * 64, "b" * 64], ["a" * 64]
    found = read_intent(
        {
            "rotation": "r1",
            "goal": {
                "authority": "given-bundle",
                "target": "b" * 64,
                "trusted": wide,
                "retired": [],
                "bridge": None,
                "compromised": False,
                "step_margin": "PT300S",
                "given": [{"endpoints": refs, "bundle": wide, "chain": None, "file": None}],
            },
            "origin": "b" * 64,
            "origin_trusted": [],
            "started_at": "2026-11-22T12:00:00Z",
            "finished": False,
            "rollback": False,
            "before": [{"endpoints": refs, "bundle": narrow, "chain": None, "file": None}],
        }
    )
    assert isinstance(found, MaterialIntent)
    assert found.goal.about is BUNDLE
    assert found.goal.step_margin == timedelta(minutes=5)
    (part,) = found.reversed_goal().parts
    assert part.bundle == tuple(narrow)
    assert part.endpoints[0] == EndpointRef(InstanceName("n1"), PORT)


def test_a_bundle_of_the_system_cannot_be_given_back() -> None:
    """No file says what a system trusts."""
    goal = planned(MemoryFleet(), bundle=WIDER).goal
    assert isinstance(goal, InstallMaterial)
    trusted = Installation(endpoints=goal.parts[0].endpoints, bundle=(SYSTEM_ROOTS,))
    with pytest.raises(SpecError, match="what their system trusts"):
        material.rollback_goal(goal, (trusted,))
