"""Rules over links: who would refuse whom now."""

from __future__ import annotations

import msgspec

from rigs import builders as build
from rigs import check_scenes as scenes
from rollover.fleet.fleet import Availability
from rollover.rules.rule import Severity


def test_a_link_that_does_not_work_names_who_refuses_and_why() -> None:
    """The server does not trust the CA that its client presents."""
    acceptor = build.endpoint("accepts", trusts=("new",))
    found = scenes.of(scenes.run(*scenes.pair(acceptor=acceptor), scenes.world()), "broken-now")
    assert [finding.subject for finding in found] == ["client1/dials → server1/accepts"]
    assert found[0].message == "server1/accepts would refuse its peer: `old` is not trusted"


def test_a_dialer_refuses_before_its_acceptor_is_asked() -> None:
    """A server that its dialer does not trust is refused by the dialer."""
    dialer = build.endpoint("dials", trusts=("new",))
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), scenes.world()), "broken-now")
    assert found[0].message.startswith("client1/dials would refuse")


def test_links_of_one_kind_are_one_finding() -> None:
    """Twelve links that break for one reason take one line, which counts them."""
    clients = build.uniform("client", 4, build.endpoint("dials"))
    servers = build.uniform("server", 3, build.endpoint("accepts", trusts=("new",)))
    links = build.links(clients, "dials", servers, "accepts")
    found = scenes.of(scenes.run((clients, servers), links, scenes.world()), "broken-now")
    assert len(found) == 1
    assert "and 11 links like it" in found[0].message


def test_a_link_that_is_not_mutual_does_not_ask_for_the_client() -> None:
    """Only the server shows a certificate there."""
    dialer = build.endpoint("dials", presents=None)
    report = scenes.run(*scenes.pair(dialer=dialer, mutual=False), scenes.world())
    assert not scenes.of(report, "broken-now")
    mutual = scenes.run(*scenes.pair(dialer=dialer), scenes.world())
    assert "no certificate is presented" in scenes.of(mutual, "broken-now")[0].message


def test_a_wrong_name_is_a_rule_of_its_own() -> None:
    """A certificate for another name is not reported as a broken path too."""
    made = scenes.world(old__leaf={"dns_names": ("n1.example.com",)})
    report = scenes.run(*scenes.pair(), made)
    found = scenes.of(report, "name-not-covered")
    assert "does not cover `localhost`, it has n1.example.com" in found[0].message
    assert not scenes.of(report, "broken-now")


def test_a_dialer_that_verifies_nobody_is_a_warning() -> None:
    """Its links cannot break, and the number of them is told."""
    dialer = build.endpoint("dials", trusts=None)
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), scenes.world()), "unverified-link")
    assert [(finding.subject, finding.severity) for finding in found] == [
        ("client1/dials", Severity.WARNING)
    ]


def test_links_of_an_instance_that_was_never_seen_are_not_judged() -> None:
    """What was not seen is missing evidence, not a broken link."""
    unknown = build.endpoint("accepts", presents=None, trusts=None)
    (clients, servers), links = scenes.pair(acceptor=unknown)
    lost = msgspec.structs.replace(
        servers.instances[0], availability=Availability.UNREACHABLE, why="port 4222 is closed"
    )
    servers = msgspec.structs.replace(servers, instances=(lost,))
    report = scenes.run((clients, servers), links, scenes.world())
    assert scenes.rules_hit(report) == {"instance-unreachable"}
    assert report.worst is Severity.EVIDENCE


def test_one_verdict_serves_links_that_are_judged_alike() -> None:
    """The number of questions does not grow with the number of links."""
    made = scenes.world()
    clients = build.uniform("client", 30, build.endpoint("dials"))
    servers = build.uniform("server", 10, build.endpoint("accepts"))
    scenes.run((clients, servers), build.links(clients, "dials", servers, "accepts"), made)
    assert made.questions == 2
