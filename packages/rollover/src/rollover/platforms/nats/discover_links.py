"""Who dials whom, from the URLs in the servers' configurations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nats_config.server import GatewayRemote, LeafRemote, ServerConfig, Url
from nats_config.tls import TlsContext
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.fleet import Role
from rollover.fleet.names import GroupName, InstanceName
from rollover.platforms.nats.discover_instances import (
    ENDPOINT,
    DiscoveryNotes,
    gateway_remote,
    leaf_remote,
)
from rollover.probe.target import parse_address

Configs = Mapping[InstanceName, ServerConfig]


class _Acceptor(NamedTuple):
    group: GroupName
    instance: InstanceDescription
    endpoint: EndpointDescription


def links(
    groups: Sequence[GroupDescription],
    configs: Configs,
    *,
    clients: GroupDescription | None,
    notes: DiscoveryNotes,
) -> Iterator[LinkDescription]:
    """Yield the links of routes, gateways, leaf nodes and clients."""
    for group in groups:
        yield from _routes(group, configs, notes)
    for group in groups:
        for instance in group.instances:
            if instance.name in configs:
                yield from _gateways(instance, configs, groups, notes)
                yield from _leaf_remotes(instance, configs[instance.name], groups, notes)
    if clients is not None:
        for group in groups:
            if any(True for _ in _with_role((group,), Role.CLIENT_PORT)):
                yield LinkDescription(
                    dialer=f"{clients.name}/{ENDPOINT}",
                    acceptor=f"{group.name}/{Role.CLIENT_PORT}",
                )


def _routes(
    group: GroupDescription, configs: Configs, notes: DiscoveryNotes
) -> Iterator[LinkDescription]:
    """Yield the links between route ports: by gossip, every server dials every other one.

    They expect the name in the URL that leads to a server; servers that no URL leads to are
    expected under the name that the others have in common, as nats-server does it.
    """
    acceptors = list(_with_role((group,), Role.ROUTE))
    if len(acceptors) < 2:  # noqa: PLR2004 - it takes two
        return
    names = _names_in_urls(group, acceptors, configs, notes)
    unverified = any(
        _insecure(configs, acceptor.instance.name, TlsContext.CLUSTER) for acceptor in acceptors
    )
    route = f"{group.name}/{Role.ROUTE}"
    common = set(names.values())
    if len(common) == 1 or not common or unverified:
        name = next(iter(common), None)
        yield LinkDescription(
            dialer=route, acceptor=route, name=None if unverified else name, unverified=unverified
        )
        return
    for acceptor in acceptors:
        yield LinkDescription(
            dialer=route,
            acceptor=f"{acceptor.instance.name}/{Role.ROUTE}",
            name=names.get(acceptor.instance.name),
        )


def _names_in_urls(
    group: GroupDescription, acceptors: Sequence[_Acceptor], configs: Configs, notes: DiscoveryNotes
) -> dict[InstanceName, str]:
    names: dict[InstanceName, str] = {}
    for instance in group.instances:
        for url in configs[instance.name].routes if instance.name in configs else ():
            found = _behind(url, acceptors)
            if found is None:
                notes.add(instance.name, f"route `{_text(url)}` leads to no server described here")
            elif names.setdefault(found.instance.name, url.host) != url.host:
                notes.add(
                    found.instance.name,
                    f"routes lead to it as `{names[found.instance.name]}` and as `{url.host}`: "
                    "its certificate needs both names",
                )
    return names


def _gateways(
    instance: InstanceDescription,
    configs: Configs,
    groups: Sequence[GroupDescription],
    notes: DiscoveryNotes,
) -> Iterator[LinkDescription]:
    config = configs[instance.name]
    own = {endpoint.name for endpoint in instance.endpoints}
    for remote in config.gateways:
        if remote.name == config.gateway_name:
            continue  # one list may stand in all configurations, and nobody dials itself
        dialer = gateway_remote(remote.name) if remote.tls is not None else Role.GATEWAY.value
        acceptors = _of_gateway(remote, configs, groups)
        if dialer not in own:
            continue
        if not acceptors:
            notes.add(instance.name, f"gateway `{remote.name}` leads to no server described here")
        # A remote without a block of its own is dialled with that of the gateway.
        block = remote.tls or config.block(TlsContext.GATEWAY)
        unverified = block is not None and block.insecure
        for acceptor in acceptors:
            yield LinkDescription(
                dialer=f"{instance.name}/{dialer}",
                acceptor=f"{acceptor.instance.name}/{acceptor.endpoint.name}",
                name=None if unverified else _expected(remote.urls, acceptor),
                unverified=unverified,
            )


def _of_gateway(
    remote: GatewayRemote, configs: Configs, groups: Sequence[GroupDescription]
) -> list[_Acceptor]:
    return [
        acceptor
        for acceptor in _with_role(groups, Role.GATEWAY)
        if acceptor.instance.name in configs
        and configs[acceptor.instance.name].gateway_name == remote.name
    ]


def _leaf_remotes(
    instance: InstanceDescription,
    config: ServerConfig,
    groups: Sequence[GroupDescription],
    notes: DiscoveryNotes,
) -> Iterator[LinkDescription]:
    acceptors = list(_with_role(groups, Role.LEAFNODE))
    for remote in config.leaf_remotes:
        if remote.tls is None or remote.disabled:
            continue
        for url in remote.urls:
            found = _behind(url, acceptors)
            if found is None:
                notes.add(
                    instance.name, f"leaf remote `{_text(url)}` leads to no server described here"
                )
                continue
            yield _leaf_link(instance, remote, found, url, insecure=remote.tls.insecure)


def _leaf_link(
    instance: InstanceDescription,
    remote: LeafRemote,
    found: _Acceptor,
    url: Url,
    *,
    insecure: bool,
) -> LinkDescription:
    return LinkDescription(
        dialer=f"{instance.name}/{leaf_remote(remote.index)}",
        acceptor=f"{found.instance.name}/{found.endpoint.name}",
        name=None if insecure else url.host,
        unverified=insecure,
    )


def _with_role(groups: Iterable[GroupDescription], role: Role) -> Iterator[_Acceptor]:
    for group in groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                if endpoint.role is role:
                    yield _Acceptor(group.name, instance, endpoint)


def _behind(url: Url, acceptors: Sequence[_Acceptor]) -> _Acceptor | None:
    """Return the acceptor that a URL leads to: by its address, else by host or port alone."""
    for matches in (
        lambda host, port: (host, port) == (url.host, url.port),
        # Names and addresses of one host differ; its port alone tells it where ports are unique.
        lambda _, port: port == url.port,
        lambda host, _: host == url.host,
    ):
        found = [
            acceptor
            for acceptor in acceptors
            if acceptor.endpoint.address is not None and matches(*_parts(acceptor.endpoint.address))
        ]
        if len(found) == 1:
            return found[0]
    return None


def _parts(address: str) -> tuple[str, int]:
    parsed = parse_address(address)
    return parsed.host, parsed.number


def _expected(urls: Sequence[Url], acceptor: _Acceptor) -> str | None:
    """Return the name under which a gateway is dialled: that of its URL, else its address."""
    for url in urls:
        if _behind(url, (acceptor,)) is not None:
            return url.host
    hosts = {url.host for url in urls}
    return hosts.pop() if len(hosts) == 1 else None


def _insecure(configs: Configs, name: InstanceName, context: TlsContext) -> bool:
    block = configs[name].block(context) if name in configs else None
    return block is not None and block.insecure


def _text(url: Url) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"
