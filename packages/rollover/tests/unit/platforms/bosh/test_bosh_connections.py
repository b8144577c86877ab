"""The connections of the director's NATS: whose they are, by their certificates."""

from __future__ import annotations

import pytest

from rollover.errors import TimedOut
from rollover.platforms.bosh.connections import MonitoredConnections, sorted_connections
from rollover.probe.monitoring import Monitor
from rollover.probe.server_views import ConnectionView, PeerCertificate


def view(cid: int, subject: str, *, certificate: str = "AB") -> ConnectionView:
    """Return a connection with a certificate of that subject; none for an empty one."""
    peer = PeerCertificate(subject=subject, spki_sha256="", cert_sha256=certificate)
    return ConnectionView(cid=cid, tls_peer_certs=(peer,) if subject else ())


@pytest.mark.parametrize(
    "subject",
    [
        "CN=3f-a.agent.bosh-internal,O=Cloud Foundry,C=USA",
        "C=USA, O=Cloud Foundry, CN=3f-a.agent.bosh-internal",
        "C = USA, O = Cloud Foundry, CN = 3f-a.agent.bosh-internal",
    ],
)
def test_an_agent_is_known_by_its_common_name(subject: str) -> None:
    """However the server writes the subject."""
    (found,) = sorted_connections([view(1, subject)]).agents
    assert (found.agent_id, found.bootstrap, found.cert_sha256) == ("3f-a", False, "ab")


def test_an_agent_at_its_birth_is_told_apart() -> None:
    """Its bootstrap certificate counts, for some directors never replace it."""
    listing = sorted_connections(
        [view(1, "CN=n.bootstrap.agent.bosh-internal,O=Cloud Foundry,C=USA")]
    )
    assert listing.current()["n"].cert_sha256 == "ab"
    assert listing.just_created() == {"n"}


def test_of_several_connections_of_an_agent_the_newest_counts() -> None:
    """The old one of a VM that was deleted lingers until the server gives it up."""
    subject = "CN=a.agent.bosh-internal,O=Cloud Foundry,C=USA"
    listing = sorted_connections(
        [view(9, subject, certificate="new"), view(3, subject, certificate="old")]
    )
    assert listing.current()["a"].cert_sha256 == "new"


def test_strangers_are_who_is_neither_agent_nor_director() -> None:
    """An agent in disguise is one: its name has to be the whole of the common name."""
    listing = sorted_connections(
        [
            view(1, "CN=default.director.bosh-internal,O=Cloud Foundry,C=US"),
            view(2, "CN=default.hm.bosh-internal,O=Cloud Foundry,C=US"),
            view(3, ""),
            view(4, "CN=x.agent.bosh-internal.example.com"),
            view(5, "CN=a.b.agent.bosh-internal"),
        ]
    )
    assert listing.agents == ()
    assert [other.cid for other in listing.others] == [3, 4, 5]


def test_without_a_monitoring_port_it_says_so() -> None:
    """Nothing is not the same as nobody."""
    missing = MonitoredConnections(None).listing().missing
    assert missing == "`director.monitor`, the monitoring port of NATS, is not in the fleet file"
    assert MonitoredConnections(None).started_at() is None


def test_a_port_that_does_not_answer_is_told_and_asked_again() -> None:
    """A listing of now never comes from before."""

    class Flaky(Monitor):
        def __init__(self) -> None:
            self.asked = 0

        def connections(self, *, page: int = 2) -> tuple[ConnectionView, ...]:
            self.asked += page // page
            if self.asked == 1:
                raise TimedOut("no answer", system="nats", operation="GET connz")
            return (view(1, ""),)

    flaky = Flaky()
    connections = MonitoredConnections(flaky)
    assert "no answer" in connections.listing().missing
    connections._fetched_at = float("-inf")
    assert connections.listing().missing == ""
    assert len(connections.listing().others) == 1
    assert flaky.asked == 2
