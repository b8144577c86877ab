"""What a certificate manager does some day: new gateway certificates from another intermediate.

For labs only. Nothing breaks at once: connections outlive it. `restart_cluster` makes them anew, as
a network or a node does some day, and `observe_gateways` says what is left.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from rollover.errors import SpecError
from rollover.probe.monitoring import Monitor
from rollover_lab import machine
from rollover_lab.nats import certificates
from rollover_lab.nats.lab import Lab
from rollover_lab.nats.spec import GatewayTrust, Intermediate, LabServer

_REQUEST_SECONDS = 2.0
_SETTLE_SECONDS = 15.0
"""A gateway that may connect does so within a second or two."""
_POLL_SECONDS = 0.2


class GatewayLink(msgspec.Struct, frozen=True, kw_only=True):
    """From a server to another cluster: whether its own connection there stands."""

    server: str
    cluster: str
    stands: bool


def renew(lab: Lab, cluster: str, *, by: Intermediate, trust: GatewayTrust | None = None) -> None:
    """Renew the gateway certificates of a cluster, and reload its servers.

    `trust` ISSUER: the `ca.pem` that comes with the new certificate replaces the `ca_file`, as it
    does where both come from one secret; None: as the lab was made. BUNDLE leaves it alone.
    """
    issuer = certificates.load_gateway_issuer(lab.layout)
    trust = trust or lab.spec.gateway_trust
    now = datetime.now(UTC)
    for member in _members(lab, cluster):
        paths = lab.layout.port(member.name, "gateway")
        issuer.write(paths, name=member.name, by=by, spec=lab.spec.certificates, now=now)
        if trust is GatewayTrust.ISSUER:
            machine.write_private(paths.ca, issuer.trust(by, trust))
        lab.reload_server(member.name)


def restart_cluster(lab: Lab, cluster: str) -> None:
    """Restart the servers of a cluster one after another; each is waited for until it listens."""
    for member in _members(lab, cluster):
        lab.restart_server(member.name, settled=False)


def observe_gateways(lab: Lab) -> tuple[GatewayLink, ...]:
    """Return the gateways as every server sees its own outbound ones."""
    monitors = {
        str(instance.name): instance.monitor
        for group in lab.description.groups
        for instance in group.instances
        if instance.monitor is not None
    }
    found = []
    for member in lab.spec.members:
        if member.leaf or member.name not in monitors:
            continue
        monitor = Monitor(monitors[member.name], timeout_seconds=_REQUEST_SECONDS)
        standing = monitor.gatewayz().outbound_gateways
        found += [
            GatewayLink(server=member.name, cluster=cluster.name, stands=cluster.name in standing)
            for cluster in lab.spec.clusters
            if cluster is not member.cluster
        ]
    return tuple(found)


def await_gateways(lab: Lab) -> tuple[GatewayLink, ...]:
    """Return the gateways once all stand, or as they are when that has been waited for in vain."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        links = observe_gateways(lab)
        if all(link.stands for link in links) or time.monotonic() > deadline:
            return links
        time.sleep(_POLL_SECONDS)


def _members(lab: Lab, cluster: str) -> list[LabServer]:
    found = [
        member for member in lab.spec.members if member.cluster.name == cluster and not member.leaf
    ]
    if not found or not lab.spec.supercluster:
        raise SpecError(
            f"the lab has no gateways of a cluster `{cluster}`",
            field="cluster",
            hint="start the preset `supercluster`; its clusters are a, b and c",
        )
    return found
