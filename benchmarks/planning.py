"""Times planning and proof for fleets of 100 to 100,000 instances, with the peak memory of each.

`python benchmarks/planning.py [SIZE ...]`: each size runs in a process of its own, so that peak
memory is its own. Each instance has ten links; a tenth of the instances are servers, in clusters
of three that are route peers of each other, the rest mutual-TLS clients of one cluster each.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rollover.fleet.certificate import (
    Certificate,
    Chain,
    Fault,
    FaultKind,
    Question,
    Verdict,
)
from rollover.fleet.fleet import (
    Authority,
    Endpoint,
    EndpointRef,
    Fleet,
    Group,
    Instance,
    Link,
    Touch,
)
from rollover.fleet.goal import Prospect, RotateAuthority
from rollover.fleet.names import (
    AuthorityName,
    EndpointName,
    Fingerprint,
    GroupName,
    InstanceName,
    SlotName,
)
from rollover.planner.planner import plan
from rollover.planner.safety import Knowledge

SIZES = (100, 1_000, 10_000, 100_000)
LINKS_PER_INSTANCE = 10
CLUSTER = 10
"""Servers of one group; each is a route peer of the nine others."""

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOAL_SECONDS = 1.0
GOAL_SIZE = 10_000

OLD, NEW = Fingerprint("ca-old"), Fingerprint("ca-new")
CLIENT, ROUTE, TLS = EndpointName("client"), EndpointName("route"), EndpointName("tls")
RENEWED = Fingerprint("ca-new/specimen")


def certificate(name: str) -> Certificate:
    """A certificate by its name: its issuer is what stands before the stroke."""
    return Certificate(
        fingerprint=Fingerprint(name),
        subject=f"CN={name}",
        issuer_name=f"CN={name.partition('/')[0]}",
        serial=1,
        not_before=NOW - timedelta(days=100),
        not_after=NOW + timedelta(days=100),
        dns_names=("localhost",),
    )


def knowledge(certificates: dict[Fingerprint, Certificate]) -> Knowledge:
    """Verdicts by issuer. The real ones are asked for as rarely: once for each pair of classes."""

    def accepts(question: Question) -> Verdict:
        issuer = question.chain[0].partition("/")[0]
        if issuer in question.bundle:
            return Verdict()
        return Verdict((Fault(kind=FaultKind.NO_PATH, detail=f"`{issuer}` is not trusted"),))

    def prospect(chain: Chain) -> Prospect:
        return Prospect(Fingerprint(chain[0].partition("/")[0]), (RENEWED,))

    return Knowledge(
        certificates=certificates,
        accepts=accepts,
        shape=lambda chain: chain[0].partition("/")[0],
        prospect=prospect,
    )


def instance(name: str, *endpoints: EndpointName) -> Instance:
    """An instance with a leaf of its own."""
    return Instance(
        name=InstanceName(name),
        endpoints=tuple(
            Endpoint(
                name=endpoint,
                presents=(Fingerprint(f"ca-old/{name}"),),
                trusts=(OLD,),
                chain_slot=SlotName("tls.crt"),
                bundle_slot=SlotName("tls.ca"),
            )
            for endpoint in endpoints
        ),
    )


def clusters(count: int) -> Iterator[tuple[Group, Group]]:
    """Groups of servers, each with the group of its clients: a hundred instances together."""
    for at in range(count):
        servers = tuple(instance(f"s{at}.{n}", CLIENT, ROUTE) for n in range(CLUSTER))
        clients = tuple(instance(f"c{at}.{n}", TLS) for n in range(100 - CLUSTER))
        yield (
            Group(name=GroupName(f"servers{at}"), instances=servers, max_in_flight=5),
            Group(
                name=GroupName(f"clients{at}"),
                instances=clients,
                touch=Touch.WATCH,
                max_in_flight=50,
            ),
        )


def links_of(servers: Group, clients: Group) -> Iterator[Link]:
    """Ten links of every instance: to each server of its cluster, for a server but itself."""
    for dialers, dialing, accepting in ((clients, TLS, CLIENT), (servers, ROUTE, ROUTE)):
        for dialer in dialers.instances:
            for acceptor in servers.instances:
                if dialer is not acceptor:
                    yield Link(
                        dialer=EndpointRef(dialer.name, dialing),
                        acceptor=EndpointRef(acceptor.name, accepting),
                        name="localhost",
                    )


def fleet(size: int) -> Fleet:
    """A fleet of so many instances."""
    pairs = list(clusters(max(1, size // 100)))
    groups = tuple(group for pair in pairs for group in pair)
    known = {fingerprint: certificate(fingerprint) for fingerprint in (OLD, NEW, RENEWED)}
    for group in groups:
        for one in group.instances:
            leaf = one.endpoints[0].presents[0]
            known[leaf] = certificate(leaf)
    return Fleet(
        name="benchmark",
        groups=groups,
        links=tuple(link for pair in pairs for link in links_of(*pair)),
        authorities=(Authority(name=AuthorityName("ca"), versions=(OLD, NEW)),),
        certificates=known,
    )


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(size: int) -> dict[str, float]:
    """Plan a fleet of this size, in this process."""
    built = fleet(size)
    told = knowledge(dict(built.certificates))
    goal = RotateAuthority(
        authority=AuthorityName("ca"), target=NEW, trusted=(NEW,), retired=(OLD,)
    )
    gc.collect()
    before = peak_megabytes()
    start = time.perf_counter()
    found = plan(built, goal, knowledge=told, now=NOW)
    seconds = time.perf_counter() - start
    assert found.complete
    assert found.lower_bound == len(found.rollouts)
    return {
        "instances": sum(len(group.instances) for group in built.groups),
        "links": len(built.links),
        "classes": found.classes,
        "rollouts": len(found.rollouts),
        "seconds": seconds,
        "fleet_mb": before,
        "planning_mb": peak_megabytes() - before,
    }


def main(sizes: list[int]) -> int:
    """Print the table; fail when the goal is missed."""
    head = ("instances", "links", "classes", "rollouts", "seconds", "µs/link", "fleet MB", "+ MB")
    print("  ".join(f"{text:>9}" for text in head))
    missed = False
    for size in sizes:
        child = [sys.executable, __file__, "--one", str(size)]
        row = json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
        each = 1e6 * row["seconds"] / row["links"]
        print(
            f"{row['instances']:>9,.0f}  {row['links']:>9,.0f}  {row['classes']:>9,.0f}  "
            f"{row['rollouts']:>9,.0f}  {row['seconds']:>9.3f}  {each:>9.2f}  "
            f"{row['fleet_mb']:>9.0f}  {row['planning_mb']:>9.0f}",
            flush=True,
        )
        missed = missed or (size == GOAL_SIZE and row["seconds"] > GOAL_SECONDS)
    print(f"goal: {GOAL_SIZE:,} instances in under {GOAL_SECONDS:g} s, growth linear")
    return int(missed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        sys.exit(main([int(text) for text in sys.argv[1:]] or list(SIZES)))
