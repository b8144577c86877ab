"""A BOSH director as the planner sees it, with certificates that are only names."""

from __future__ import annotations

from rigs import builders as build
from rollover.fleet.certificate import Stack
from rollover.fleet.fleet import Fleet, Touch


def bosh(world: build.World, *, agents: int = 10) -> Fleet:
    """A director VM (NATS, director, health monitor), and the agents that the director feeds.

    All parties of the VM, and what is handed out to agents, share one bundle: `nats.tls.ca`.
    """
    director = build.group(
        "director",
        build.instance(
            "director/0",
            build.endpoint("nats", slot="server", bundle="ca"),
            build.endpoint("director", slot="director", bundle="ca", stack=Stack.OPENSSL),
            build.endpoint("health-monitor", slot="monitor", bundle="ca", stack=Stack.OPENSSL),
            build.signer("agents", bundle="ca"),
        ),
        touch=Touch.RECREATE,
    )
    fed = build.uniform(
        "agent", agents, build.endpoint("mbus", source=("director", "agents")), touch=Touch.RESTART
    )
    links = build.links(fed, "mbus", director, "nats")
    for literal in ("director", "health-monitor"):
        links += build.links(director, literal, director, "nats", same_instance=True)
    return build.fleet([director, fed], links, world)
