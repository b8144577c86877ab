"""Cautions about TLS stacks: said where a dialer may run on either, not between nats-servers."""

from __future__ import annotations

import msgspec
import pytest

from rigs import builders as build
from rollover.fleet.certificate import Fault, FaultKind, Question, Stack, Verdict
from rollover.fleet.fleet import Fleet, Role
from rollover.planner.explain import STACKS_DISAGREE
from rollover.planner.planner import plan

REFUSED = Verdict((Fault(kind=FaultKind.NO_PATH, detail="the first CA of that name"),))


def cautioned(fleet: Fleet, world: build.World) -> list[str]:
    """Return whom a plan says stacks disagree about, where OpenSSL refuses everything."""

    def accepts(question: Question) -> Verdict:
        return REFUSED if question.stack is Stack.OPENSSL else world.accepts(question)

    found = plan(
        fleet,
        build.goal(),
        knowledge=msgspec.structs.replace(world.knowledge(), accepts=accepts),
        now=build.NOW,
    )
    return [caution.message for caution in found.cautions if caution.rule == STACKS_DISAGREE]


@pytest.mark.parametrize(
    ("role", "warned"),
    [
        (Role.ROUTE, False),
        (Role.GATEWAY, False),
        (Role.GATEWAY_REMOTE, False),
        (Role.LEAF_REMOTE, False),
        (Role.CLIENT, True),
        (Role.TLS, True),
    ],
)
def test_servers_that_dial_run_on_go(role: Role, *, warned: bool) -> None:
    """A nats-server dials with Go whatever is said; a client may be rewritten in C."""
    world = build.World()
    acceptors = build.uniform("hub", 2, build.endpoint("port", role=Role.ROUTE))
    dialers = build.uniform("dialer", 2, build.endpoint("tls", role=role))
    links = build.links(dialers, "tls", acceptors, "port")
    told = cautioned(build.fleet([acceptors, dialers], links, world), world)
    assert bool(told) is warned


def test_a_client_is_named_though_servers_trust_the_same() -> None:
    """The link between servers, which comes first, does not hide the client's."""
    world = build.World()
    servers = build.uniform("n", 2, build.endpoint("route", role=Role.ROUTE))
    clients = build.uniform("c", 1, build.endpoint("tls", role=Role.CLIENT))
    links = [
        *build.links(servers, "route", servers, "route"),
        *build.links(clients, "tls", servers, "route"),
    ]
    told = cautioned(build.fleet([servers, clients], links, world), world)
    assert told
    assert all(text.startswith("c1/tls") for text in told)
