"""From configurations to a description: groups, endpoints, files, addresses, links, remarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.nats_fleet_rig import Authority, write_material
from rollover.errors import ConfigError, SpecError
from rollover.fleet.description import links
from rollover.fleet.fleet import Role
from rollover.platforms.nats.discovery import Discovery, discover_fleet

TLS = 'tls { cert_file: "tls.crt", key_file: "tls.key", ca_file: "ca.crt", %s }'


def found(folder: Path, **configs: str) -> Discovery:
    """Discover servers with these configurations; the file name is the keyword's."""
    paths = []
    for name, text in configs.items():
        path = folder / f"{name}.conf"
        path.write_text(text)
        paths.append(path)
    return discover_fleet(paths, environment={}, working_directory=folder)


def node(name: str, port: int, *routes: str, extra: str = "") -> str:
    """Return the configuration of a server of a cluster."""
    return f"""
server_name: {name}
listen: "127.0.0.1:{port}"
{TLS % "verify: true"}
cluster {{ name: c1, listen: "127.0.0.1:{port + 1000}", routes: [{", ".join(routes)}], {TLS % ""} }}
{extra}
"""


def test_servers_of_one_cluster_are_one_group(tmp_path: Path) -> None:
    """Named after the cluster, with a client and a route port each, and their files."""
    made = found(
        tmp_path, a=node("n1", 4001, '"nats://n2.example:5002"'), b=node("n2", 4002)
    ).description
    (group,) = made.groups
    assert (group.name, [instance.name for instance in group.instances]) == ("c1", ["n1", "n2"])
    client, route = group.instances[0].endpoints
    assert (client.name, client.role, client.address) == (
        "client-port",
        Role.CLIENT_PORT,
        "127.0.0.1:4001",
    )
    assert client.verify
    assert route.verify, "nats-server forces it there"
    assert client.certificate == str(tmp_path / "tls.crt")
    assert route.ca == str(tmp_path / "ca.crt")


def test_routes_expect_the_name_in_their_urls(tmp_path: Path) -> None:
    """One name for all is one link of the group with itself, which assembles."""
    made = found(
        tmp_path,
        a=node("n1", 4001, '"nats://localhost:5002"'),
        b=node("n2", 4002, '"nats://localhost:5001"'),
    ).description
    (link,) = made.links
    assert (link.dialer, link.acceptor, link.name) == ("c1/route", "c1/route", "localhost")
    assert len(list(links(made))) == 2


def test_routes_under_different_names_are_links_of_their_own(tmp_path: Path) -> None:
    """Each acceptor is expected under its own name, by everybody."""
    made = found(
        tmp_path,
        a=node("n1", 4001, '"nats://two.example:5002"'),
        b=node("n2", 4002, '"nats://one.example:5001"'),
    ).description
    assert {(link.acceptor, link.name) for link in made.links} == {
        ("n1/route", "one.example"),
        ("n2/route", "two.example"),
    }


def test_gateways_lead_to_the_cluster_of_their_name(tmp_path: Path) -> None:
    """A remote with a block of its own is an endpoint of its own; insecure looks at no name."""

    def cluster(name: str, port: int, remotes: str) -> str:
        return f"""
server_name: {name}1
listen: "127.0.0.1:{port}"
gateway {{ name: {name}, listen: "127.0.0.1:{port + 1}", {TLS % ""}, gateways: [{remotes}] }}
"""

    made = found(
        tmp_path,
        a=cluster("A", 4001, f'{{ name: B, url: "nats://b.example:4102", {TLS % ""} }}'),
        b=cluster("B", 4101, '{ name: A, url: "nats://a.example:4002" }'),
    ).description
    assert {(link.dialer, link.acceptor, link.name) for link in made.links} == {
        ("A1/gateway-remote-B", "B1/gateway", "b.example"),
        ("B1/gateway", "A1/gateway", "a.example"),
    }
    assert len(list(links(made))) == 2


def test_leaf_remotes_lead_to_the_hub_that_listens_there(tmp_path: Path) -> None:
    """The dialling endpoint has the files of its own block; a disabled one is left out."""
    hub = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:7001", {TLS % "verify: true"} }}'
    remote = f"""
server_name: spoke
leafnodes {{ remotes: [
  {{ url: "tls://localhost:7001", {TLS % "insecure: true"} }}
  {{ url: "tls://localhost:7001", disabled: true, {TLS % ""} }}
] }}
"""
    made = found(tmp_path, hub=hub, spoke=remote).description
    (link,) = made.links
    assert (link.dialer, link.acceptor, link.unverified) == (
        "spoke/leaf-remote",
        "hub/leafnode",
        True,
    )
    (spoke,) = (
        instance
        for group in made.groups
        for instance in group.instances
        if instance.name == "spoke"
    )
    assert [endpoint.role for endpoint in spoke.endpoints] == [Role.LEAF_REMOTE]


def test_a_server_in_the_clear_has_no_endpoints_and_a_remark(tmp_path: Path) -> None:
    """Nothing is invented that its configuration does not have."""
    made = found(tmp_path, plain='listen: "127.0.0.1:4222"')
    (instance,) = made.description.groups[0].instances
    assert (instance.name, instance.endpoints) == ("plain", ())
    assert any("no `tls` block" in remark.message for remark in made.remarks)


def test_a_server_that_listens_everywhere_is_dialled_on_loopback(tmp_path: Path) -> None:
    """With a remark; an advertised address is taken instead where there is one."""
    everywhere = found(tmp_path, a=f"port: 4222\n{TLS % ''}")
    advertised = found(tmp_path, a=f'port: 4222\nclient_advertise: "n1.example:4333"\n{TLS % ""}')
    assert everywhere.description.groups[0].instances[0].endpoints[0].address == "127.0.0.1:4222"
    assert any("listens everywhere" in remark.message for remark in everywhere.remarks)
    assert advertised.description.groups[0].instances[0].endpoints[0].address == "n1.example:4333"


def test_names_are_unique_and_come_from_the_file_without_a_server_name(tmp_path: Path) -> None:
    """Two servers of one name are told apart."""
    text = f'listen: "127.0.0.1:4222"\n{TLS % ""}'
    made = found(tmp_path, a=f"server_name: n\n{text}", b=f"server_name: n\n{text}", c=text)
    assert [instance.name for instance in made.description.groups[0].instances] == ["n", "n-2", "c"]


def test_generations_of_a_ca_are_versions_of_one_authority(tmp_path: Path) -> None:
    """Named after the subject without its number, the oldest first."""
    first, second = Authority("Demo NATS CA 1"), Authority("Demo NATS CA 2")
    write_material(tmp_path, first.issue("n1"), (first.certificate, second.certificate))
    made = found(tmp_path, a=f'listen: "127.0.0.1:4222"\n{TLS % "verify: true"}').description
    (authority,) = made.authorities
    assert authority.name == "demo-nats-ca"
    assert set(authority.certificates) == {
        first.certificate.fingerprint,
        second.certificate.fingerprint,
    }


def test_a_monitor_that_does_not_answer_is_a_remark(tmp_path: Path) -> None:
    """Discovery goes on without the clients that it would have told of."""
    made = found(tmp_path, a=f'listen: "127.0.0.1:4222"\nhttp: "127.0.0.1:1"\n{TLS % ""}')
    assert made.description.groups[0].instances[0].monitor == "http://127.0.0.1:1"
    assert any("was not asked" in remark.message for remark in made.remarks)


def test_passwords_are_not_in_what_is_discovered(tmp_path: Path) -> None:
    """The user of the system account is named, to be described by hand."""
    accounts = "accounts { S { users: [ { user: sys, password: hush } ] } }\nsystem_account: S"
    made = found(tmp_path, a=f'listen: "127.0.0.1:4222"\n{accounts}\n{TLS % ""}')
    assert "hush" not in repr(made)
    assert any("`sys`" in remark.message for remark in made.remarks)


def test_nothing_to_look_at_is_an_error_with_a_remedy() -> None:
    """Neither configurations nor monitors."""
    with pytest.raises(SpecError) as refused:
        discover_fleet((), environment={})
    assert "--config" in refused.value.hint


def test_a_broken_configuration_is_refused_with_its_place(tmp_path: Path) -> None:
    """File, line and column, as nats-server tells them."""
    with pytest.raises(ConfigError, match=r"a\.conf:2"):
        found(tmp_path, a='server_name: n1\ntls { cert_file: "x" ')
