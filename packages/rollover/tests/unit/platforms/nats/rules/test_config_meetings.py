"""Many configurations: who meets whom is found without looking at every pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.config_scenes import LEAF, Desk, Tls, named
from rigs.pki_forge import forge
from rollover.fleet.certificate import Question, Verdict
from rollover.platforms.nats.rules.peers import peer_refusals
from rollover.platforms.nats.rules.report import check_configs

NODES = 60


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder to write configurations into."""
    return Desk(tmp_path)


def cluster(desk: Desk, count: int, *, section: str = "cluster", routes: int = 3) -> None:
    """Write a cluster, or gateways, half of which come from a CA that the others do not trust."""
    other = desk.authority("Other")
    for at in range(count):
        by = other if at % 2 else desk.root
        block = Tls((desk.leaf(f"n{at}.example", by=by, subject=f"n{at}"),), (by,))
        if section == "cluster":
            urls = ", ".join(f"'nats-route://n{to}.example:6222'" for to in range(routes))
            inside = f"name: c\n  listen: 'n{at}.example:6222'\n  routes: [{urls}]"
        else:
            inside = f"name: g{at}\n  listen: 'n{at}.example:7222'"
        desk.with_blocks(f"n{at}", {section: block}, more="", inside={section: inside})


@pytest.mark.parametrize("section", ["cluster", "gateway"])
def test_a_schism_is_one_finding_for_each_server(desk: Desk, section: str) -> None:
    """Its peers are counted, and some of them named."""
    cluster(desk, NODES, section=section)
    found = desk.findings("peers-refuse-each-other")
    assert len(found) == NODES
    first = (
        f"refuses n1 {section}.tls, n3 {section}.tls, n5 {section}.tls and {NODES // 2 - 3} more"
    )
    assert found[0].message.startswith(first)


def test_every_pair_that_refuses_can_be_told(desk: Desk) -> None:
    """For a comparison of before and after: each judge with each of its peers."""
    cluster(desk, 10)
    pairs = {
        (peer_refusal.judge, peer_refusal.peer) for peer_refusal in peer_refusals(desk.scene())
    }
    names = [f"n{at} cluster.tls" for at in range(10)]
    assert pairs == {
        (one, other)
        for here, one in enumerate(names)
        for there, other in enumerate(names)
        if here % 2 != there % 2
    }


@pytest.mark.parametrize("section", ["cluster", "gateway"])
def test_every_chain_is_judged_once_for_each_bundle(desk: Desk, section: str) -> None:
    """Twice as many servers are twice as many verdicts, not four times."""
    counts = []
    for size in (20, 40):
        desk.configs.clear()
        cluster(desk, size, section=section)
        scene = desk.scene()
        ask, asked = scene.accepts, [0]
        scene.accepts = counting(ask, asked)
        check_configs(scene)
        counts.append(asked[0])
    assert 0 < counts[1] <= 2 * counts[0]


def counting(ask: Callable[[Question], Verdict], asked: list[int]) -> Callable[..., Verdict]:
    """Return a verifier that counts what it is asked."""

    def accepts(question: Question) -> Verdict:
        asked[0] += 1
        return ask(question)

    return accepts


def test_nobody_refuses_himself(desk: Desk) -> None:
    """A server whose own chain its own bundle refuses is no finding while it is alone."""
    other = desk.authority("Other")
    inside = {"cluster": "name: c\n  routes: ['nats-route://n1.example:6222']"}
    desk.server(inside=inside, cluster=Tls((desk.leaf("n1.example"),), (other,)))
    assert not desk.findings("peers-refuse-each-other")


def test_servers_of_one_gateway_are_no_gateways_to_each_other(desk: Desk) -> None:
    """Only those of another name are dialled."""
    other = desk.authority("Other")
    for name, by in (("n1", desk.root), ("n2", other)):
        block = Tls((desk.leaf(f"{name}.example", by=by, subject=name),), (by,))
        desk.server(name, inside={"gateway": "name: a"}, gateway=block)
    assert not desk.findings("peers-refuse-each-other")


def test_a_remote_with_a_block_of_its_own_is_judged_by_that(desk: Desk) -> None:
    """The gateway that the remote names: its bundle counts; of all others the main one's."""
    other = desk.authority("Other")
    trusting = desk.tls("remote", Tls((desk.leaf("a.example"),), (other,)))
    gateways = f"[{{name: b, url: 'nats://b.example:7222', {trusting}}}]"
    inside = {"gateway": f"name: a\n  gateways: {gateways}"}
    desk.server("a", inside=inside, gateway=Tls((desk.leaf("a.example"),), (desk.root, other)))
    for name in ("b", "c"):
        block = Tls((desk.leaf(f"{name}.example", subject=name),), (desk.root,))
        desk.server(name, inside={"gateway": f"name: {name}"}, gateway=block)
    found = desk.findings("peers-refuse-each-other")
    assert [finding.message[:23] for finding in found] == ["refuses b gateway.tls: "]
    assert found[0].subject != "a gateway.tls"


def test_a_route_to_oneself_is_no_wrong_name(desk: Desk) -> None:
    """Lists of routes name all nodes, also the one that reads them, and all listen everywhere."""
    urls = ", ".join(f"'nats-route://n{at}.example:6222'" for at in (1, 2))
    for name in ("n1", "n2"):
        block = Tls((desk.leaf(f"{name}.example", subject=name),), (desk.root,))
        inside = {"cluster": f"name: c\n  listen: '0.0.0.0:6222'\n  routes: [{urls}]"}
        desk.server(name, inside=inside, cluster=block)
    assert not desk.findings("name-not-in-certificate")


def test_nodes_of_a_cluster_without_a_name_meet_by_their_routes(desk: Desk) -> None:
    """What is written counts where no name says who is meant."""
    other = desk.authority("Other")
    for name, by, to in (("n1", desk.root, "n2"), ("n2", other, "n1")):
        block = Tls((desk.leaf(f"{name}.example", by=by, subject=name),), (by,))
        routes = f"listen: '{name}.example:6222'\n  routes: ['nats-route://{to}.example:6222']"
        desk.server(name, inside={"cluster": routes}, cluster=block)
    assert len(desk.findings("peers-refuse-each-other")) == 2


def test_a_standing_address_is_covered_by_value(desk: Desk) -> None:
    """Addresses compare by value, wildcards by their labels."""
    names = (("10.0.0.1",), ("*.example",))
    for at, covered in enumerate(names):
        made = forge("n", LEAF._replace(names=named(*covered)), by=desk.root, now=desk.now)
        hosts = ("10.0.0.1", "n1.example")
        route = f"nats-route://{hosts[1 - at]}:6222"
        inside = f"name: c\n  listen: '{hosts[at]}:6222'\n  routes: ['{route}']"
        desk.server(f"n{at}", inside={"cluster": inside}, cluster=Tls((made,), (desk.root,)))
    assert not desk.findings("name-not-in-certificate")
