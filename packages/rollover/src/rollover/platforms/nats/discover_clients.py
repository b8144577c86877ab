"""Clients that no configuration names: those that running servers have connections of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.model import Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.platforms.nats.discover_live import Live
from rollover.platforms.nats.discover_server import Notes
from rollover.probe.views import ConnectionView

ENDPOINT = EndpointName(Role.CLIENT.value)
_COMMON_NAME = re.compile(r"(?:^|,)CN=([^,]+)")
_GO = "go"
_CLIENT = "Client"


def clients_group(
    name: GroupName,
    platform: str,
    live: Sequence[Live],
    *,
    taken: Collection[InstanceName],
    notes: Notes,
) -> GroupDescription | None:
    """Return a group of the clients that are connected over TLS, None when there are none.

    Their files are not known: a person fills them in.
    """
    found: dict[str, ConnectionView] = {}
    for view in _over_tls(live):
        client = _name(view)
        if client in found:
            notes.add(
                f"{name}/{client}",
                "several connections have this name: one instance stands for all",
            )
        found.setdefault(client, view)
    if not found:
        return None
    notes.add(
        name,
        f"{len(found)} clients were found by their connections: fill in `certificate`, `key` and "
        "`ca` of each, and `status_file` with `touch: watch` where they use nats_rotating_client; "
        "`touch: reconnect` is for those that read their files whenever they connect, `restart` "
        "for those that read them once",
    )
    return GroupDescription(
        name=name,
        platform=platform,
        instances=tuple(
            _instance(_free(client, taken), view) for client, view in sorted(found.items())
        ),
        touch=Touch.RECONNECT,
    )


def _over_tls(live: Sequence[Live]) -> Iterator[ConnectionView]:
    for server in live:
        for view in server.connections:
            if view.kind in {_CLIENT, ""} and view.tls_version:
                yield view


def _name(view: ConnectionView) -> str:
    """Return the connection's name, else its certificate's common name, else where it is from."""
    subject = view.tls_peer_certs[0].subject if view.tls_peer_certs else ""
    common = _COMMON_NAME.search(subject)
    name = view.name or (common.group(1) if common else subject) or view.ip
    return name.replace("/", "-")


def _free(name: str, taken: Collection[InstanceName]) -> InstanceName:
    return InstanceName(f"{name}-client" if name in taken else name)


def _instance(name: InstanceName, view: ConnectionView) -> InstanceDescription:
    stack = Stack.GO if view.lang == _GO else Stack.OPENSSL
    return InstanceDescription(
        name=name,
        endpoints=(EndpointDescription(name=ENDPOINT, role=Role.CLIENT, stack=stack),),
    )
