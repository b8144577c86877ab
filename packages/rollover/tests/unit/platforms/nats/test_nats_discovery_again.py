"""A second discovery: what it finds counts, and nothing that a person wrote is lost."""

from __future__ import annotations

import msgspec

from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
    SystemAccount,
)
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import AuthorityName, EndpointName, Fingerprint, GroupName, InstanceName
from rollover.platforms.nats.discovery import Discovery, discover_again

OLD, NEW = Fingerprint("a" * 64), Fingerprint("b" * 64)
LINK = LinkDescription(dialer="clients/client", acceptor="core/client-port")


def _server(name: str, *, address: str, ca: str | None = None) -> InstanceDescription:
    port = EndpointDescription(
        name=EndpointName("client-port"), role=Role.CLIENT_PORT, address=address, ca=ca
    )
    return InstanceDescription(name=InstanceName(name), endpoints=(port,))


def _client(name: str, *, ca: str | None = None) -> InstanceDescription:
    endpoint = EndpointDescription(name=EndpointName("client"), role=Role.CLIENT, ca=ca)
    return InstanceDescription(name=InstanceName(name), endpoints=(endpoint,))


def _fleet(
    *servers: InstanceDescription, clients: tuple[InstanceDescription, ...], authority: str = "ca"
) -> FleetDescription:
    return FleetDescription(
        version=1,
        name="core",
        groups=(
            GroupDescription(name=GroupName("core"), platform="nats", instances=servers),
            GroupDescription(
                name=GroupName("clients"),
                platform="nats-client",
                instances=clients,
                touch=Touch.RECONNECT,
            ),
        ),
        links=(LINK,),
        authorities=(AuthorityDescription(name=AuthorityName(authority), certificates=(OLD,)),),
    )


FOUND = _fleet(_server("n1", address="n1:4222"), clients=(_client("app"),))


def _again(found: FleetDescription, before: FleetDescription) -> FleetDescription:
    return discover_again(Discovery(description=found), before).description


def test_a_discovery_of_the_same_changes_nothing() -> None:
    """Also when it is repeated."""
    assert _again(FOUND, FOUND) == FOUND


def test_what_a_person_filled_in_is_kept() -> None:
    """Files of a client, how its group is rolled out, and the system account."""
    before = _fleet(_server("n1", address="n1:4222"), clients=(_client("app", ca="ca.crt"),))
    servers, clients = before.groups
    paced = msgspec.structs.replace(clients, touch=Touch.WATCH, max_in_flight=7)
    system = SystemAccount(user="sys")
    before = msgspec.structs.replace(before, groups=(servers, paced), system=system)
    assert _again(FOUND, before) == before


def test_what_was_found_counts_more_than_what_was_written() -> None:
    """A server that moved has its new address, and new servers join their group."""
    found = _fleet(
        _server("n1", address="n1:5222"),
        _server("n2", address="n2:4222"),
        clients=(_client("app"),),
    )
    merged = _again(found, FOUND)
    addresses = [instance.endpoints[0].address for instance in merged.groups[0].instances]
    assert addresses == ["n1:5222", "n2:4222"]


def test_an_instance_that_is_away_is_kept_and_named() -> None:
    """A client that is not connected now would be cut off if it were forgotten."""
    before = _fleet(_server("n1", address="n1:4222"), clients=(_client("app"), _client("night")))
    done = discover_again(Discovery(description=FOUND), before)
    assert done.description == before
    assert [remark.subject for remark in done.remarks] == ["night"]


def test_an_instance_stays_in_the_group_that_it_was_moved_to() -> None:
    """It does not come back in the group that discovery would put it in."""
    servers, clients = FOUND.groups
    mine = msgspec.structs.replace(clients, name=GroupName("mine"))
    links = (msgspec.structs.replace(LINK, dialer="mine/client"),)
    before = msgspec.structs.replace(FOUND, groups=(servers, mine), links=links)
    assert [group.name for group in _again(FOUND, before).groups] == ["core", "mine"]


def test_links_of_parties_that_are_gone_go_too() -> None:
    """An endpoint that is no longer configured leaves nothing behind that cannot be read."""
    gone = LinkDescription(dialer="clients/client", acceptor="core/websocket")
    before = msgspec.structs.replace(FOUND, links=(LINK, gone))
    assert _again(FOUND, before).links == (LINK,)


def test_an_authority_keeps_the_name_that_a_person_gave_it() -> None:
    """Store and journal know it by that name; certificates found since are added."""
    before = _fleet(
        _server("n1", address="n1:4222"), clients=(_client("app"),), authority="nats-ca"
    )
    newer = AuthorityDescription(name=AuthorityName("ca"), certificates=(OLD, NEW))
    found = msgspec.structs.replace(FOUND, authorities=(newer,))
    assert _again(found, before).authorities == (
        AuthorityDescription(name=AuthorityName("nats-ca"), certificates=(OLD, NEW)),
    )
