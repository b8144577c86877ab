"""The fleet that a director is, from what it lists."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.fleet import description
from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    AuthorityDescription,
    DirectorDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.fleet import Role, SourceRef, Touch
from rollover.fleet.names import AuthorityName, Fingerprint, GroupName, InstanceName
from rollover.platforms.bosh import director_fleet, discovery, login
from rollover.platforms.bosh.cost import RoundCost, UpdateWay, round_cost
from rollover.platforms.bosh.director_fleet import DirectorObservation, Placement
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    CertificateExpiry,
    Deployment,
    DirectorInfo,
    DirectorLock,
    Stemcell,
)
from rollover.platforms.bosh.discovery import DirectorDiscovery
from rollover.platforms.bosh.login import DirectorAccess

JAMMY = Stemcell(name="bosh-warden-ubuntu-jammy", version="1.199")
XENIAL = Stemcell(name="bosh-warden-ubuntu-xenial", version="621.5")
VERSION = (283, 1, 6)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def agent(number: int, **fields: object) -> BoshInstance:
    """An instance with a VM."""
    given = {"vm_cid": f"vm-{number}", "job_state": "running", "stemcell": JAMMY, **fields}
    return BoshInstance(deployment="web", group="router", id=f"{number:04}", **given)  # type: ignore[arg-type]  # fields of it


def place(*instances: BoshInstance, stemcells: tuple[Stemcell, ...] = (JAMMY,)) -> Placement:
    """A deployment of these."""
    return Placement(
        deployment=Deployment(name="web", stemcells=stemcells), instances=tuple(instances)
    )


def cost(*places: Placement, direct: bool = False, version: tuple[int, ...] = VERSION) -> RoundCost:
    """What a round takes."""
    return director_fleet.cost_of(places, version=version, direct=direct)


def described(**fields: object) -> FleetDescription:
    """A fleet file as it stands beside a director."""
    given = {
        "groups": (),
        "director": DirectorDescription(environment="https://10.0.0.6"),
        **fields,
    }
    return FleetDescription(version=1, name="prod", **given)  # type: ignore[arg-type]  # fields of it


def expanded(*agents: BoshInstance, **fields: object) -> FleetDescription:
    """The whole fleet."""
    return director_fleet.with_agents(described(**fields), agents, cost=cost(place(*agents)))


def test_the_director_vm_has_four_parties_that_share_one_bundle() -> None:
    """NATS, director, health monitor, and what is handed out to agents."""
    director = expanded(agent(0)).groups[0]
    (vm,) = director.instances
    assert (director.name, director.platform, director.touch) == (
        "director", "bosh-director", Touch.RECREATE,
    )  # fmt: skip
    assert [
        (endpoint.name, endpoint.role, endpoint.stack, endpoint.certificate)
        for endpoint in vm.endpoints
    ] == [
        ("nats", Role.CLIENT_PORT, Stack.GO, "nats.tls.server"),
        ("director", Role.CLIENT, Stack.OPENSSL, "nats.tls.director"),
        ("health-monitor", Role.CLIENT, Stack.OPENSSL, "nats.tls.health_monitor"),
        ("agents", Role.SOURCE, Stack.GO, "nats.tls.client_ca"),
    ]
    assert {endpoint.ca for endpoint in vm.endpoints} == {"nats.tls.ca"}
    assert vm.endpoints[0].address == "10.0.0.6:4222"
    assert vm.endpoints[0].verify


def test_every_vm_is_an_agent_that_the_director_feeds() -> None:
    """Its name outlives its VM, and does not depend on the order of the listing."""
    one, other = expanded(agent(0), agent(1)), expanded(agent(1), agent(0, vm_cid="vm-new"))
    assert one.groups[1] == other.groups[1]
    assert [instance.name for instance in one.groups[1].instances] == [
        "web/router/0000",
        "web/router/0001",
    ]
    (mbus,) = one.groups[1].instances[0].endpoints
    assert (mbus.role, mbus.source) == (Role.CLIENT, "director/agents")


def test_the_description_can_be_assembled_into_a_fleet() -> None:
    """Agents dial NATS; so do director and health monitor, on its own VM."""
    fleet = description.assemble(expanded(agent(0), agent(1)), {})
    links = sorted(
        (str(link.dialer), str(link.acceptor), link.mutual, link.name) for link in fleet.links
    )
    assert links == [
        ("director/0/director", "director/0/nats", True, "10.0.0.6"),
        ("director/0/health-monitor", "director/0/nats", True, "10.0.0.6"),
        ("web/router/0000/mbus", "director/0/nats", True, "10.0.0.6"),
        ("web/router/0001/mbus", "director/0/nats", True, "10.0.0.6"),
    ]
    source = fleet.groups[1].instances[0].endpoints[0].source
    assert source == SourceRef(GroupName("director"), director_fleet.AGENT_SOURCE)
    bundles = {endpoint.bundle_slot for endpoint in fleet.groups[0].instances[0].endpoints}
    assert len(bundles) == 1


def test_without_agents_there_is_only_the_director() -> None:
    """And nothing that dials from nowhere."""
    fleet = description.assemble(expanded(), {})
    assert [group.name for group in fleet.groups] == ["director"]
    assert len(fleet.links) == 2


def test_a_rollout_of_the_agents_takes_what_the_round_costs() -> None:
    """So that certificates are valid for as long as it really lasts."""
    agents = [agent(number) for number in range(10)]
    expected = cost(place(*agents))
    fleet = description.assemble(expanded(*agents), {})
    assert fleet.groups[1].rollout_time.total_seconds() == pytest.approx(expected.seconds, rel=0.01)


def test_a_recovery_costs_new_vms() -> None:
    """Those of agents that are cut off, whatever their stemcell; the others are told in place."""
    agents = (agent(1), agent(2))

    def round_of(*lost: BoshInstance) -> RoundCost:
        return director_fleet.cost_of(
            [place(*agents)], version=VERSION, direct=False, lost=lambda each: each in lost
        )

    costs = [round_of(), round_of(agents[0]), round_of(*agents)]
    assert [item.recreated for item in costs] == [0, 1, 2]
    assert costs[0].seconds < costs[1].seconds < costs[2].seconds
    groups = [
        director_fleet.with_agents(described(), agents, cost=item).groups[1] for item in costs
    ]
    assert [group.touch for group in groups] == [Touch.RESTART, Touch.RESTART, Touch.RECREATE]


def test_pacing_and_reasons_of_a_person_are_kept() -> None:
    """Only what the director knows better is filled in."""
    mine = GroupDescription(
        name=GroupName("agents"),
        platform="bosh-agents",
        max_in_flight=7,
        seconds_per_instance=2.0,
        instances=(
            InstanceDescription(
                name=InstanceName("web/router/0001"), endpoints=(), ignored="on loan"
            ),
        ),
    )
    other = GroupDescription(name=GroupName("apps"), platform="nats-client", instances=())
    fleet = expanded(agent(0), agent(1), groups=(mine, other))
    assert [group.name for group in fleet.groups] == ["director", "agents", "apps"]
    agents = fleet.groups[1]
    assert (agents.max_in_flight, agents.seconds_per_instance) == (7, 2.0)
    assert [instance.ignored for instance in agents.instances] == ["", "on loan"]
    assert all(instance.endpoints for instance in agents.instances)


def test_a_link_that_a_person_described_is_not_doubled() -> None:
    """Another name may be expected of NATS."""
    mine = LinkDescription(dialer="agents/mbus", acceptor="director/nats", name="nats.internal")
    fleet = expanded(agent(0), links=(mine,))
    assert [link.name for link in fleet.links if link.dialer == "agents/mbus"] == ["nats.internal"]


def test_nats_may_be_elsewhere() -> None:
    """At a name that agents use, or beside a director with an IPv6 address."""
    fleet = expanded(director=DirectorDescription(environment="x", nats="nats.example:4333"))
    assert fleet.groups[0].instances[0].endpoints[0].address == "nats.example:4333"
    assert {link.name for link in fleet.links} == {"nats.example"}
    six = DirectorDescription(environment="https://[2001:db8::1]:25555")
    assert login.nats_address(six) == "[2001:db8::1]:4222"
    assert {link.name for link in expanded(director=six).links} == {"2001:db8::1"}


def test_a_fleet_without_a_director_stays_as_it_is() -> None:
    """It is none of BOSH's."""
    plain = described(director=None)
    assert director_fleet.with_agents(plain, (), cost=round_cost(())) is plain


def test_a_listing_without_stemcells_counts_as_the_oldest_of_the_deployment() -> None:
    """An estimate that is too long only makes certificates last longer."""
    brief = agent(0, stemcell=None)
    mixed = place(brief, stemcells=(JAMMY, XENIAL))
    assert director_fleet.update_way_of(brief, mixed, version=VERSION).way is UpdateWay.RECREATE
    assert (
        director_fleet.update_way_of(brief, place(brief), version=VERSION).way is UpdateWay.IN_PLACE
    )
    assert director_fleet.update_way_of(agent(0), mixed, version=VERSION).way is UpdateWay.IN_PLACE
    assert director_fleet.update_way_of(agent(0), mixed, version=(270,)).way is UpdateWay.RECREATE


def test_told_directly_a_round_is_short_but_not_for_those_to_be_recreated() -> None:
    """Which no message brings new credentials."""
    new, old = place(agent(0)), place(agent(0, stemcell=XENIAL))
    assert cost(new, direct=True).seconds < 5 < cost(new).seconds
    assert cost(old, direct=True).seconds == cost(old).seconds


def world(*instances: BoshInstance, **fields: object) -> DirectorObservation:
    """What a director told."""
    info = DirectorInfo(name="prod", uuid="1", version=VERSION)
    return DirectorObservation(info=info, placements=(place(*instances),), **fields)  # type: ignore[arg-type]  # fields of it


def remarks(
    found: DirectorObservation, director: DirectorDescription | None = None
) -> dict[str, str]:
    """What a person is told of it, by subject."""
    reading = discovery.read_director(found, cost(*found.placements))
    noted = [*discovery._remarks_on_deployments(found, reading, now=NOW)]
    if director is not None:
        access = DirectorAccess(url="https://x:1", client="a", secret=msgspec.UNSET, proxy=True)  # type: ignore[arg-type]  # not used
        noted += discovery._remarks_on_director(found, director, access)
    return {remark.subject: remark.message for remark in noted}


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (agent(0, vm_cid=None, job_state=None), "has no VM and is left out"),
        (agent(0, ignore=True), "is ignored"),
        (agent(0, state="stopped", job_state="stopped"), "is stopped"),
        (agent(0, job_state="unresponsive agent"), "does not answer"),
    ],
)
def test_an_instance_that_a_deploy_would_miss_is_named(instance: BoshInstance, said: str) -> None:
    """By its name in the fleet."""
    assert said in remarks(world(instance, agent(1)))["web/router/0000"]
    assert "web/router/0001" not in remarks(world(instance, agent(1)))


def test_what_has_to_be_recreated_is_counted_with_its_reason() -> None:
    """Once for each reason, not once for each VM."""
    found = remarks(world(*(agent(n, stemcell=XENIAL) for n in range(3))))
    assert found["web"].startswith("3 VMs have to be recreated in each round: ")
    assert "621.5" in found["web"]


def test_locks_and_certificates_that_end_are_named() -> None:
    """Those that have ended too."""
    soon, late = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    found = remarks(
        world(
            agent(0),
            locks=(DirectorLock(kind="deployment", resource=("web",), task_id="12"),),
            expiries=(
                CertificateExpiry(path="nats.tls.ca", expires_at=soon, days_left=9),
                CertificateExpiry(path="director.ssl", expires_at=late, days_left=-21),
                CertificateExpiry(
                    path="far", expires_at=datetime(2030, 1, 1, tzinfo=UTC), days_left=1000
                ),
            ),
        )
    )
    assert found["deployment web"] == "locked by task 12"
    assert found["nats.tls.ca"] == "ends in 9 days, on 2026-12-01"
    assert found["director.ssl"] == "ended 21 days ago, on 2026-11-01"
    assert "far" not in found


def test_no_deployments_are_told_as_such() -> None:
    """A client may also just see none."""
    empty = DirectorObservation(
        info=DirectorInfo(name="prod", uuid="1", version=VERSION), placements=()
    )
    assert "there are none" in remarks(empty)["deployments"]


def found(director: DirectorDescription, *certificates: str) -> DirectorDiscovery:
    """A discovery of nothing but its director."""
    authority = AuthorityDescription(
        name=discovery.AUTHORITY, certificates=tuple(map(Fingerprint, certificates))
    )
    empty = DirectorObservation(
        info=DirectorInfo(name="prod", uuid="1", version=VERSION), placements=()
    )
    return DirectorDiscovery(
        description=described(director=director, authorities=(authority,)),
        reading=discovery.read_director(empty, round_cost(())),
    )


def test_described_again_a_fleet_keeps_what_a_person_wrote() -> None:
    """Name, pacing, what discovery cannot know; the authority keeps its name and grows."""
    before = described(
        director=DirectorDescription(
            environment="https://old:25555", in_place="direct", parallel=5, monitor="http://m"
        ),
        authorities=(
            AuthorityDescription(name=AuthorityName("mine"), certificates=(Fingerprint("aa"),)),
        ),
        margin_seconds=7.0,
    )
    fresh = found(DirectorDescription(environment="https://new:25555", client="ci"), "aa", "bb")
    merged = discovery.discover_again(fresh, before).description
    assert merged.director is not None
    assert (merged.director.environment, merged.director.client) == ("https://new:25555", "ci")
    assert (merged.director.in_place, merged.director.parallel) == ("direct", 5)
    assert merged.director.monitor == "http://m"
    assert [(authority.name, authority.certificates) for authority in merged.authorities] == [
        ("mine", ("aa", "bb"))
    ]
    assert merged.margin_seconds == 7.0


def test_a_described_director_survives_its_file() -> None:
    """What is written is what is read."""
    description = found(DirectorDescription(environment="https://x:25555"), "aa").description
    assert read_fleet(write_fleet(description), place="fleet.yml") == description
