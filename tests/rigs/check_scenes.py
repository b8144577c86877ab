"""Small fleets for the rules of `check`, with certificates that are only names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from rigs import builders as build
from rollover.fleet.description import (
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    Silence,
)
from rollover.fleet.fleet import Fleet, Group, Link
from rollover.fleet.names import Fingerprint
from rollover.rule_catalogue import whole_catalogue
from rollover.rules.context import RuleKnowledge
from rollover.rules.report import Report, check
from rollover.rules.rule import Finding

SECOND = Fingerprint("old:second")
ANOTHER = msgspec.structs.replace(build.endpoint("accepts"), presents=(SECOND,))
"""An acceptor with a leaf and key of its own."""


def world(**changes: dict[str, Any]) -> build.World:
    """Certificates `old` and `new` with their leaves; `changes` sets fields of one of them.

    `old__leaf={…}` changes the leaf of `old`.
    """
    made = build.World()
    made.add(build.certificate(SECOND))
    for name in ("old", "new", "next", "old:leaf", "new:leaf", "next:leaf", SECOND):
        known = made.certificates[Fingerprint(name)]
        plain = {
            "is_ca": ":" not in name,
            "key_identity": f"key of {name}",
            "subject_key_id": f"id of {name}",
            "authority_key_id": f"id of {known.issuer_name.removeprefix('CN=')}",
        }
        changed = {**plain, **changes.get(name.replace(":", "__"), {})}
        made.add(msgspec.structs.replace(known, **changed))
    return made


def pair(
    *, dialer: Any = None, acceptor: Any = None, mutual: bool = True
) -> tuple[Sequence[Group], Iterable[Link]]:
    """One client that dials one server; both present and trust `old` unless said otherwise."""
    clients = build.uniform("client", 1, dialer or build.endpoint("dials"))
    servers = build.uniform("server", 1, acceptor or build.endpoint("accepts"))
    return (
        (clients, servers),
        build.links(clients, "dials", servers, "accepts", mutual=mutual),
    )


def described(fleet: Fleet, **fields: Any) -> FleetDescription:
    """A description of a fleet that names files of its own for every endpoint."""
    groups = tuple(
        GroupDescription(
            name=group.name,
            platform="memory",
            instances=tuple(
                InstanceDescription(
                    name=instance.name,
                    working_directory=f"/etc/{instance.name}",
                    endpoints=tuple(
                        EndpointDescription(
                            name=endpoint.name,
                            role=endpoint.role,
                            certificate="tls.crt",
                            key="tls.key",
                            ca="ca.crt",
                        )
                        for endpoint in instance.endpoints
                    ),
                )
                for instance in group.instances
            ),
        )
        for group in fleet.groups
    )
    return FleetDescription(version=1, name=fleet.name, groups=groups, **fields)


def run(
    groups: Sequence[Group],
    links: Iterable[Link],
    made: build.World,
    *,
    silenced: tuple[Silence, ...] = (),
    description: FleetDescription | None = None,
    keys: Iterable[str] = ("old", "new", "next"),
    expires_within: timedelta = timedelta(days=30),
    margin_seconds: float = 300.0,
) -> Report:
    """Check a fleet whose leaves come from the CA that they are named after."""
    fleet = build.fleet(groups, links, made)
    issuers = {
        certificate: Fingerprint(certificate.split(":")[0])
        for certificate in made.certificates
        if certificate.startswith(("old:", "new:", "next:"))
    }
    return check(
        fleet,
        description or described(fleet, silenced=silenced, margin_seconds=margin_seconds),
        accepts=made.accepts,
        shape=made.shape,
        knowledge=RuleKnowledge(
            issuers=issuers,
            keys=frozenset(Fingerprint(key) for key in keys),
            expires_within=expires_within,
        ),
        now=build.NOW,
        catalogue=whole_catalogue(),
    )


def of(report: Report, rule: str) -> list[Finding]:
    """Return what one rule found."""
    return [
        finding
        for checked in report.checked
        for finding in checked.findings
        if finding.rule == rule
    ]


def rules_hit(report: Report) -> set[str]:
    """Return the ids of all rules that found something."""
    return {finding.rule for checked in report.checked for finding in checked.findings}
