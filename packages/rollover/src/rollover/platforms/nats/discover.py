"""Describes a fleet from the configurations of its servers and from what running servers tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from nats_config.config import read_config
from nats_config.server import ServerConfig, read_server_config
from rollover.codec.nats_configuration import config_errors
from rollover.errors import AdapterError, RolloverError, SpecError
from rollover.fleet.description import FleetDescription, GroupDescription, InstanceDescription
from rollover.fleet.model import Touch
from rollover.fleet.names import GroupName, InstanceName
from rollover.platforms.nats.discover_authorities import authorities
from rollover.platforms.nats.discover_clients import clients_group
from rollover.platforms.nats.discover_links import links
from rollover.platforms.nats.discover_live import Live, from_live, look, with_live
from rollover.platforms.nats.discover_server import Notes, instance_of

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


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """One server with a configuration."""

    name: InstanceName
    config: ServerConfig
    instance: InstanceDescription

    @property
    def group(self) -> GroupName:
        """Servers of one cluster are one group."""
        return GroupName(self.config.cluster_name or self.config.gateway_name or SERVERS)


def discover(
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
    notes = Notes()
    configured = _read_all(configs, environment, working_directory or Path.cwd(), notes)
    live, failures = _ask_all(configured, monitors, notes)
    servers = {each.name: with_live(each.instance, live, notes) for each in configured}
    groups: dict[GroupName, list[InstanceDescription]] = {}
    for each in configured:
        groups.setdefault(each.group, []).append(servers[each.name])
    for one in live:
        found = from_live(one, known=set(servers), notes=notes)
        if found is not None:
            servers[found.name] = found
            groups.setdefault(GroupName(one.varz.cluster.name or SERVERS), []).append(found)
    if not groups:
        raise _nothing(failures)
    return _described(groups, configured, live, notes)


def _read_all(
    configs: Sequence[Path], environment: Mapping[str, str], directory: Path, notes: Notes
) -> list[Configured]:
    found: list[Configured] = []
    for path in configs:
        with config_errors():
            config = read_server_config(
                read_config(path, environment=environment, cwd=directory), cwd=directory
            )
        name = _free_name(config.server_name or path.stem, {each.name for each in found})
        instance = instance_of(config, name, notes=notes)
        found.append(
            Configured(
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
    plain = wanted.replace("/", "-")
    number, name = 1, plain
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return InstanceName(name)


def _ask_all(
    configured: Sequence[Configured], monitors: Sequence[str], notes: Notes
) -> tuple[list[Live], list[RolloverError]]:
    named = (each.instance.monitor for each in configured)
    urls = dict.fromkeys((*monitors, *(url for url in named if url is not None)))
    live: dict[str, Live] = {}
    failures: list[RolloverError] = []
    for url in urls:
        try:
            found = look(url)
        except AdapterError as error:
            failures.append(error)
            notes.add(url, f"it was not asked who is connected: {error.message}")
        else:
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
    configured: Sequence[Configured],
    live: Sequence[Live],
    notes: Notes,
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
    taken = {each.name for group in servers for each in group.instances}
    clients = clients_group(CLIENTS, CLIENT_PLATFORM, live, taken=taken, notes=notes)
    configs = {each.name: each.config for each in configured}
    _note_system(configured, notes)
    description = FleetDescription(
        version=1,
        name=_fleet_name(servers),
        groups=(*servers, *((clients,) if clients is not None else ())),
        links=tuple(links(servers, configs, clients=clients, notes=notes)),
        authorities=tuple(authorities(servers)),
    )
    return Discovery(
        description=description,
        remarks=tuple(DiscoveryRemark(subject=who, message=what) for who, what in notes.all()),
    )


def _fleet_name(servers: Sequence[GroupDescription]) -> str:
    names = [each.name for each in servers if each.name != SERVERS]
    return names[0] if len(names) == 1 else DEFAULT_NAME


def _note_system(configured: Sequence[Configured], notes: Notes) -> None:
    users = {user.name for each in configured for user in each.config.accounts.system_users}
    if users:
        notes.add(
            "system",
            f"the system account has the user `{min(users)}`: describe it under `system`, "
            "with its password in a file of mode 0600 as `password_file`, and reloads answer with "
            "their error",
        )
    elif configured:
        notes.add("system", "no user of a system account: reloads go by signal and answer nothing")
