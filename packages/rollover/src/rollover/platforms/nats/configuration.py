"""What a server's own configuration says of where its bundles lie, and how that is changed.

A fleet file says where files are. Once Rollover has re-pointed a server, the configuration of that
server knows better: so it is asked, wherever it can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, assert_never

import msgspec

from nats_config.config import Config, replace_string
from nats_config.digest import compute_digest
from nats_config.parser import parse_text
from nats_config.server import ServerConfig, read_server_config
from nats_config.tls import TlsBlock
from nats_config.tree import Position
from rollover.codec.nats_configuration import CONTEXT_OF, config_errors
from rollover.engine.ports import DeliveredFile, Delivery
from rollover.errors import AdapterError, ConfigError, SpecError
from rollover.fleet.description import (
    CommandDelivery,
    EndpointDescription,
    FileDelivery,
    GroupDescription,
    InstanceDescription,
    KubernetesDelivery,
)
from rollover.fleet.evidence import Order
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, InstanceName
from rollover.platforms.nats.discover_instances import gateway_remote, leaf_remote
from rollover.platforms.nats.instance_files import KEPT_SUFFIX

_REMOTES = frozenset((Role.GATEWAY_REMOTE, Role.LEAF_REMOTE))
"""There may be several of these in a configuration, told apart by the names of endpoints."""


class Configuration(NamedTuple):
    """A server's configuration: the texts of its files by path, and what they amount to."""

    texts: Mapping[str, bytes]
    server: ServerConfig


def read(
    delivery: Delivery,
    instance: InstanceDescription,
    *,
    environment: Mapping[str, str],
    instead: Mapping[str, bytes] = MappingProxyType({}),
) -> Configuration:
    """Return the configuration of an instance, described with absolute paths.

    `environment`: what the variables in it come from. `instead`: texts to take in the place of
    files. Raises `ConfigError` for what nats-server would not read, `AdapterError` where a file
    cannot be had, `SpecError` where none is described.
    """
    if instance.config is None or instance.working_directory is None:
        raise SpecError(
            "nothing says where its configuration is",
            place=instance.name,
            field="config",
            hint="describe `config`, the path of its nats.conf",
        )
    texts: dict[str, bytes] = {}

    def load(name: str, place: Position | None = None) -> bytes:  # noqa: ARG001 - errors name the file
        path = os.path.abspath(name)  # noqa: PTH100 - links are the delivery's business
        texts[path] = instead.get(path) or delivery.read(instance.name, (path,))[path]
        return texts[path]

    path = instance.config
    with config_errors():
        tree = parse_text(load(path), place=path, include=load, environment=environment)
        config = Config(path=path, tree=tree, files=tuple(texts), digest=compute_digest(tree))
        return Configuration(texts, read_server_config(config, cwd=instance.working_directory))


class Configurations:
    """The configurations of a group; one whose files are as they were is not parsed again."""

    def __init__(self, delivery: Delivery, *, environment: Mapping[str, str]) -> None:
        self._delivery = delivery
        self._environment = environment
        self._known: dict[InstanceName, Configuration] = {}

    def elsewhere(self, instance: InstanceDescription) -> Mapping[EndpointName, str]:
        """Return where bundles lie that are not where an instance is described to have them.

        Paths below its directory are relative to that, as in a fleet file. Nothing where its
        configuration cannot be read: that is for `check` to say.
        """
        if instance.config is None:
            return {}
        try:
            found = self._read(instance)
        except (ConfigError, AdapterError):
            return {}
        home = f"{instance.working_directory}/"
        return {name: path.removeprefix(home) for name, path in _elsewhere(instance, found.server)}

    def _read(self, instance: InstanceDescription) -> Configuration:
        known = self._known.get(instance.name)
        # A delivery tells contents and no dates: parsed again is only what changed.
        if known is None or known.texts != self._delivery.read(instance.name, tuple(known.texts)):
            known = self._known[instance.name] = read(
                self._delivery, instance, environment=self._environment
            )
        return known

    def as_kept(self, instance: InstanceDescription) -> InstanceDescription | None:
        """Return an instance as it was before a re-pointing that is not confirmed; None: none is.

        Its server may still run with the files that it named then.
        """
        if instance.config is None:
            return None
        try:
            name = f"{instance.config}{KEPT_SUFFIX}"
            kept = self._delivery.read(instance.name, (name,))[name]
            before = read(
                self._delivery,
                instance,
                environment=self._environment,
                instead={instance.config: kept},
            )
        except (ConfigError, AdapterError):
            return None
        return placed(instance, dict(_elsewhere(instance, before.server)))


def _elsewhere(
    instance: InstanceDescription, server: ServerConfig
) -> Iterator[tuple[EndpointName, str]]:
    for endpoint in instance.endpoints:
        block = block_of(endpoint, server)
        if endpoint.ca is None or block is None or block.ca_file is None:
            continue
        path = os.path.abspath(block.ca_file.path)  # noqa: PTH100 - as above
        if os.path.realpath(path) != os.path.realpath(endpoint.ca):
            yield endpoint.name, path


def placed(instance: InstanceDescription, files: Mapping[EndpointName, str]) -> InstanceDescription:
    """Return the description of an instance some of whose bundles lie elsewhere."""
    endpoints = tuple(
        msgspec.structs.replace(endpoint, ca=files.get(endpoint.name, endpoint.ca))
        for endpoint in instance.endpoints
    )
    return msgspec.structs.replace(instance, endpoints=endpoints)


def block_of(endpoint: EndpointDescription, server: ServerConfig) -> TlsBlock | None:
    """Return the `tls` block that an endpoint is; None when the configuration has none such."""
    if endpoint.role in CONTEXT_OF and endpoint.role not in _REMOTES:
        return server.block(CONTEXT_OF[endpoint.role])
    if endpoint.role is Role.GATEWAY_REMOTE:
        named = (
            gateway for gateway in server.gateways if gateway_remote(gateway.name) == endpoint.name
        )
        return next((remote.tls for remote in named), None)
    if endpoint.role is Role.LEAF_REMOTE:
        numbered = (
            remote for remote in server.leaf_remotes if leaf_remote(remote.index) == endpoint.name
        )
        return next((remote.tls for remote in numbered), None)
    return None


# Re-pointing.


def repointed(instance: InstanceDescription, order: Order) -> InstanceDescription:
    """Return the description of an instance as it is once an order was carried out."""
    return placed(instance, dict(_targets(instance, order)))


def _targets(instance: InstanceDescription, order: Order) -> Iterator[tuple[EndpointName, str]]:
    home = instance.working_directory or ""
    for endpoint in order.endpoints:
        if endpoint.bundle_file is not None:
            path = os.path.join(home, endpoint.bundle_file)  # noqa: PTH118 - as above
            yield endpoint.endpoint, os.path.abspath(path)  # noqa: PTH100 - as above


def edited(
    delivery: Delivery,
    instance: InstanceDescription,
    order: Order,
    *,
    environment: Mapping[str, str],
) -> tuple[DeliveredFile, ...]:
    """Return the files of the configuration that an order changes, each with its new content.

    Only the value of `ca_file` in the blocks of the endpoints is changed. `SpecError` where that
    cannot be done without changing another block too.
    """
    wanted = dict(_targets(instance, order))
    if not wanted:
        return ()
    before = read(delivery, instance, environment=environment)
    texts = dict(before.texts)
    blocks = {endpoint.name: block_of(endpoint, before.server) for endpoint in instance.endpoints}
    keys = {name: _key(instance, name, blocks[name]) for name in wanted}
    # From the end of each file to its beginning: what is changed moves only what lies behind.
    for name, key in sorted(keys.items(), key=lambda named: named[1], reverse=True):
        path = os.path.abspath(key.file)  # noqa: PTH100 - as above
        if path not in texts:
            raise SpecError(
                f"`ca_file` of `{name}` comes from the environment variable `{key.file}`",
                place=instance.name,
                hint="write the path into the configuration, reload the server, then run again",
            )
        with config_errors():
            texts[path] = replace_string(texts[path], key, wanted[name])
    after = read(delivery, instance, environment=environment, instead=texts)
    _check(instance, before.server, after.server, wanted)
    changed = (path for path, text in texts.items() if text != before.texts[path])
    return tuple(DeliveredFile(path=path, content=texts[path]) for path in changed)


def _key(instance: InstanceDescription, name: EndpointName, block: TlsBlock | None) -> Position:
    if block is None or block.ca_file is None:
        missing = "no `tls` block" if block is None else f"no `ca_file` in `{block.name}`"
        raise SpecError(
            f"the configuration has {missing} for `{name}`",
            place=f"{instance.name}: {instance.config}",
            hint="add it there, with the file that the endpoint trusts today; then run again",
        )
    return block.ca_file.place


def _check(
    instance: InstanceDescription,
    before: ServerConfig,
    after: ServerConfig,
    wanted: Mapping[EndpointName, str],
) -> None:
    """Refuse an edit that changes anything but what was asked for.

    Blocks that come from one variable, or from one file that is included twice, change together.
    """
    asked: dict[str, str] = {}
    for endpoint in instance.endpoints:
        block = block_of(endpoint, before)
        if endpoint.name in wanted and block is not None:
            asked[block.name] = wanted[endpoint.name]
    for old, new in zip(before.tls, after.tls, strict=True):
        expected = asked.get(old.name) or _path(old)
        if _path(new) != expected:
            raise SpecError(
                f"`{old.name}` gets its `ca_file` from the same place as a block that is to move",
                place=f"{instance.name}: {old.ca_file.place if old.ca_file else old.place}",
                hint="write a `tls` block of its own for it, or choose its endpoint as well",
            )
    known = {remark.message for remark in before.remarks if remark.code == "unknown-field"}
    for remark in after.remarks:
        if remark.code == "unknown-field" and remark.message not in known:
            # A variable that nobody uses any more is a field that nats-server does not know.
            raise SpecError(
                f"once `ca_file` is changed: {remark.message}",
                place=f"{instance.name}: {remark.place}",
                hint="write the path in place of the variable, reload the server, then run again",
            )


def _path(block: TlsBlock) -> str:
    return block.ca_file.path if block.ca_file is not None else ""


def renamed_by_hand(group: GroupDescription) -> str:
    """Return how a person names another `ca_file` where it is not written here, by who does."""
    match group.delivery:
        case FileDelivery():
            return (
                "describe `config`, the path of its nats.conf on this machine; or re-point it by "
                "hand, then run again without `--as`"
            )
        case KubernetesDelivery():
            return (
                "all pods read one nats.conf, which a chart writes: name the new `ca_file` in its "
                "values, and as `ca` in the fleet file, then run again without `--as`"
            )
        case CommandDelivery():
            return (
                "change `ca_file` with the tool that writes its nats.conf, and `ca` in the fleet "
                "file, then run again without `--as`"
            )
        case _:
            assert_never(group.delivery)
