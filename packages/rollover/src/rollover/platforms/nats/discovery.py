"""Describes a fleet from the configurations of its servers and from what running servers tell.

Describing it again loses nothing that a person wrote into its description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from nats_config.config import read_config
from nats_config.server import ServerConfig, read_server_config
from rollover.codec.nats_configuration import config_errors
from rollover.errors import AdapterError, PemError, RolloverError, SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.fleet import Touch
from rollover.fleet.names import AuthorityName, GroupName, InstanceName
from rollover.pki.pem import loaded_by_go
from rollover.platforms.nats.discover_instances import (
    DiscoveryNotes,
    LiveServer,
    clients_group,
    from_live,
    instance_of,
    observe_live,
    with_live,
)
from rollover.platforms.nats.discover_links import links
from rollover.platforms.nats.instance_files import public_paths

SERVERS, CLIENTS = GroupName("servers"), GroupName("clients")
SERVER_PLATFORM, CLIENT_PLATFORM = "nats", "nats-client"
DEFAULT_NAME = "nats"


class DiscoveryRemark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should look at in a discovered description."""

    subject: str
    """The instance or group, and the endpoint if it is about one."""
    message: str


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """A description of what was found, and what it leaves to a person."""

    description: FleetDescription
    remarks: tuple[DiscoveryRemark, ...] = ()


class ConfiguredServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server with a configuration."""

    name: InstanceName
    config: ServerConfig
    instance: InstanceDescription

    @property
    def group(self) -> GroupName:
        """Servers of one cluster are one group."""
        return GroupName(self.config.cluster_name or self.config.gateway_name or SERVERS)


def discover_fleet(
    configs: Sequence[Path],
    *,
    environment: Mapping[str, str],
    working_directory: Path | None = None,
    monitors: Sequence[str] = (),
) -> Discovery:
    """Return a description of the servers with these configurations, or at these monitor URLs.

    `working_directory` is that of the servers' processes, by default ours: relative paths of
    certificates begin there. Monitoring ports that configurations name are asked as well; one
    that does not answer is a remark. Raises `ConfigError` for a configuration that nats-server
    would refuse, `SpecError` when there is nothing to look at, and the `AdapterError` of the
    first monitor when nothing else was found.
    """
    notes = DiscoveryNotes()
    configured = _read_all(configs, environment, working_directory or Path.cwd(), notes)
    live, failures = _ask_all(configured, monitors, notes)
    servers = {server.name: with_live(server.instance, live, notes) for server in configured}
    groups: dict[GroupName, list[InstanceDescription]] = {}
    for server in configured:
        groups.setdefault(server.group, []).append(servers[server.name])
    for running in live:
        found = from_live(running, known=set(servers), notes=notes)
        if found is not None:
            servers[found.name] = found
            groups.setdefault(GroupName(running.varz.cluster.name or SERVERS), []).append(found)
    if not groups:
        raise _nothing(failures)
    return _described(groups, configured, live, notes)


def _read_all(
    configs: Sequence[Path], environment: Mapping[str, str], directory: Path, notes: DiscoveryNotes
) -> list[ConfiguredServer]:
    found: list[ConfiguredServer] = []
    for path in configs:
        with config_errors():
            config = read_server_config(
                read_config(path, environment=environment, cwd=directory), cwd=directory
            )
        name = _free_name(config.server_name or path.stem, {server.name for server in found})
        instance = instance_of(config, name, notes=notes)
        found.append(
            ConfiguredServer(
                name=name,
                config=config,
                instance=msgspec.structs.replace(
                    instance, config=str(directory / path), working_directory=str(directory)
                ),
            )
        )
        for remark in config.remarks:
            notes.add(name, f"{remark.place}: {remark.message}")
    return found


def _free_name(wanted: str, taken: set[InstanceName]) -> InstanceName:
    # A slash stands between instance and endpoint in a fleet file: `n1/client`.
    plain = wanted.replace("/", "-")
    number, name = 1, plain
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return InstanceName(name)


def _ask_all(
    configured: Sequence[ConfiguredServer], monitors: Sequence[str], notes: DiscoveryNotes
) -> tuple[list[LiveServer], list[RolloverError]]:
    named = (server.instance.monitor for server in configured)
    urls = dict.fromkeys((*monitors, *(url for url in named if url is not None)))
    live: dict[str, LiveServer] = {}
    failures: list[RolloverError] = []
    for url in urls:
        try:
            found = observe_live(url)
        except AdapterError as error:
            failures.append(error)
            notes.add(url, f"it was not asked who is connected: {error.message}")
        else:
            # Two URLs may lead to one server: its configuration's, and one that was given.
            live.setdefault(found.varz.server_id, found)
    return list(live.values()), failures


def _nothing(failures: Sequence[RolloverError]) -> RolloverError:
    if failures:
        return failures[0]
    return SpecError(
        "there is nothing to look at",
        hint="name configurations with `--config`, or monitoring ports with `--monitor`",
    )


def _described(
    groups: Mapping[GroupName, Sequence[InstanceDescription]],
    configured: Sequence[ConfiguredServer],
    live: Sequence[LiveServer],
    notes: DiscoveryNotes,
) -> Discovery:
    servers = tuple(
        GroupDescription(
            name=name,
            platform=SERVER_PLATFORM,
            instances=tuple(instances),
            touch=Touch.RELOAD,
        )
        for name, instances in groups.items()
    )
    taken = {instance.name for group in servers for instance in group.instances}
    clients = clients_group(CLIENTS, CLIENT_PLATFORM, live, taken=taken, notes=notes)
    names = [group.name for group in servers if group.name != SERVERS]
    configs = {server.name: server.config for server in configured}
    _note_system(configured, notes)
    description = FleetDescription(
        version=1,
        name=names[0] if len(names) == 1 else DEFAULT_NAME,
        groups=(*servers, *((clients,) if clients is not None else ())),
        links=tuple(links(servers, configs, clients=clients, notes=notes)),
        authorities=tuple(authorities(servers)),
    )
    return Discovery(
        description=description,
        remarks=tuple(DiscoveryRemark(subject=who, message=what) for who, what in notes.all()),
    )


def _note_system(configured: Sequence[ConfiguredServer], notes: DiscoveryNotes) -> None:
    users = {user.name for server in configured for user in server.config.accounts.system_users}
    if users:
        notes.add(
            "system",
            f"the system account has the user `{min(users)}`: describe it under `system`, "
            "with its password in a file of mode 0600 as `password_file`, and reloads answer with "
            "their error",
        )
    elif configured:
        notes.add("system", "no user of a system account: reloads go by signal and answer nothing")


# Describing a fleet again without losing what a person wrote into its description.
#
# Discovery knows what configurations and running servers tell. Files of clients, the system
# account, delivery, pacing, silenced rules and an instance that is away today stand in the fleet
# file only.

_Described = TypeVar("_Described", InstanceDescription, EndpointDescription)


def discover_again(found: Discovery, before: FleetDescription) -> Discovery:
    """Return what was found, completed by what the former description says beyond it.

    Where both say something of an instance, what was found counts. An instance that was not found
    is kept, with a remark: only a person can know that it is gone for good.
    """
    fleet = found.description
    groups = tuple(_merged_groups(fleet.groups, before.groups))
    there = {instance.name for group in fleet.groups for instance in group.instances}
    merged = msgspec.structs.replace(
        before,
        groups=groups,
        links=tuple(_merged_links(fleet.links, before.links, groups)),
        authorities=tuple(_merged_authorities(fleet.authorities, before.authorities)),
    )
    away = tuple(
        DiscoveryRemark(
            subject=instance.name,
            message="it was not found now, and is kept: take it out if it is gone",
        )
        for group in before.groups
        for instance in group.instances
        if instance.name not in there
    )
    return Discovery(description=merged, remarks=(*found.remarks, *away))


def _merged_groups(
    found: Sequence[GroupDescription], before: Sequence[GroupDescription]
) -> Iterator[GroupDescription]:
    """Yield the groups of before with what was found of their instances, then the new groups.

    An instance stays in the group that a person moved it to.
    """
    there = {instance.name: instance for group in found for instance in group.instances}
    settled = {instance.name for group in before for instance in group.instances}
    fresh = {
        group.name: tuple(instance for instance in group.instances if instance.name not in settled)
        for group in found
    }
    for group in before:
        known = tuple(
            _merged_instance(there.get(instance.name, instance), instance)
            for instance in group.instances
        )
        yield msgspec.structs.replace(group, instances=(*known, *fresh.pop(group.name, ())))
    for group in found:
        if fresh.get(group.name):
            yield msgspec.structs.replace(group, instances=fresh[group.name])


def _merged_instance(
    found: InstanceDescription, before: InstanceDescription
) -> InstanceDescription:
    described: Mapping[str, EndpointDescription] = {
        endpoint.name: endpoint for endpoint in before.endpoints
    }
    endpoints = tuple(
        _filled(endpoint, described[endpoint.name]) if endpoint.name in described else endpoint
        for endpoint in found.endpoints
    )
    return msgspec.structs.replace(_filled(found, before), endpoints=endpoints)


def _filled(found: _Described, before: _Described) -> _Described:
    """Return what was found, with the fields that it leaves empty from before."""
    left = {
        name: getattr(before, name)
        for name in found.__struct_fields__
        if getattr(found, name) in (None, (), "")
    }
    return msgspec.structs.replace(found, **left)


def _merged_links(
    found: Sequence[LinkDescription],
    before: Sequence[LinkDescription],
    groups: Sequence[GroupDescription],
) -> Iterator[LinkDescription]:
    """Yield the links of before whose parties are there still, then those that are new."""
    parties = set(_parties(groups))
    known = {(link.dialer, link.acceptor) for link in before}
    yield from (link for link in before if {link.dialer, link.acceptor} <= parties)
    yield from (link for link in found if (link.dialer, link.acceptor) not in known)


def _parties(groups: Sequence[GroupDescription]) -> Iterator[str]:
    for group in groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                yield f"{group.name}/{endpoint.name}"
                yield f"{instance.name}/{endpoint.name}"


def _merged_authorities(
    found: Sequence[AuthorityDescription], before: Sequence[AuthorityDescription]
) -> Iterator[AuthorityDescription]:
    """Yield the authorities of before with what was found of each, then the new ones.

    One with a certificate of a known authority is that authority, whatever a person named it.
    """
    left = list(found)
    for known in before:
        same = [
            authority
            for authority in left
            if authority.name == known.name or set(authority.certificates) & set(known.certificates)
        ]
        left = [authority for authority in left if authority not in same]
        more = chain.from_iterable(authority.certificates for authority in same)
        certificates = tuple(dict.fromkeys((*known.certificates, *more)))
        yield msgspec.structs.replace(known, certificates=certificates)
    yield from left


# The CAs that stand in the files of a discovered fleet, named after their subjects.

LARGEST_FILE = 1024 * 1024
_COMMON_NAME = re.compile(r"(?:^|,)CN=([^,]+)")
_GENERATION = re.compile(r"[\s._-]*v?\d+$", re.IGNORECASE)
"""`Demo CA 1` and `Demo CA 2` are versions of one authority."""
_ODD = re.compile(r"[^a-z0-9]+")


def authorities(groups: Sequence[GroupDescription]) -> Iterator[AuthorityDescription]:
    """Yield the authorities whose certificates stand in the files, oldest version first."""
    versions: dict[AuthorityName, list[Certificate]] = {}
    found = sorted(
        set(_authorities_on_disk(groups)), key=lambda certificate: certificate.not_before
    )
    for certificate in found:
        versions.setdefault(_authority_name(certificate), []).append(certificate)
    for name, certificates in sorted(versions.items()):
        yield AuthorityDescription(
            name=name, certificates=tuple(version.fingerprint for version in certificates)
        )


def _authorities_on_disk(groups: Sequence[GroupDescription]) -> Iterator[Certificate]:
    paths = {
        path for group in groups for instance in group.instances for path in public_paths(instance)
    }
    for path in sorted(paths):
        for certificate in _certificates(Path(path)):
            if certificate.is_ca and certificate.self_signed:
                yield certificate


def _certificates(path: Path) -> tuple[Certificate, ...]:
    try:
        return loaded_by_go(read_start(path, size=LARGEST_FILE))
    except (OSError, PemError):
        # They are told when the fleet is observed, with their instance.
        return ()


def _authority_name(certificate: Certificate) -> AuthorityName:
    common = _COMMON_NAME.search(certificate.subject)
    text = _GENERATION.sub("", common.group(1) if common else certificate.subject)
    return AuthorityName(_ODD.sub("-", text.lower()).strip("-") or "ca")
