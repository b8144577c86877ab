"""Certificates that a configuration names: the `tls` blocks of nats-server, and fleet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nats_config.config import read_config
from nats_config.server import read_server_config
from nats_config.tls import TlsBlock, TlsContext
from rollover.codec.fleet_file import read_fleet
from rollover.codec.nats_configuration import config_errors
from rollover.errors import PemError, RolloverError, SpecError
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.model import Role
from rollover.inspecting.files import read_file
from rollover.inspecting.formats import Opening, parts_of
from rollover.inspecting.found import (
    BOTH_STACKS,
    Finding,
    FoundCertificate,
    FoundKey,
    Kind,
    Problem,
    Source,
    problem,
    writable,
)
from rollover.inspecting.pem import Part
from rollover.pki.pem import loaded_by_go

MOST_BLOCKS = 1_000

_AMONG_SERVERS = frozenset(
    {
        TlsContext.CLUSTER,
        TlsContext.GATEWAY,
        TlsContext.GATEWAY_REMOTE,
        TlsContext.LEAFNODES,
        TlsContext.LEAF_REMOTE,
    }
)
"""Both ends are nats-server: only the verdict of Go counts."""


class _Party(NamedTuple):
    """One TLS party as a configuration describes it."""

    name: str
    kind: Kind
    place: str
    chain: str
    key: str
    bundle: str
    usages: tuple[Usage, ...]
    stacks: tuple[Stack, ...]


def read_nats(
    path: Path, *, working_directory: Path, environment: Mapping[str, str], opening: Opening
) -> Iterator[Finding]:
    """Yield a source for every `tls` block; `ConfigError`, with the place, for what is wrong."""
    with config_errors():
        config = read_server_config(
            read_config(path, environment=environment), cwd=working_directory
        )
    if not config.tls:
        raise SpecError(
            "no `tls` block in it", place=str(path), hint="name a configuration that has one"
        )
    for block in config.tls[:MOST_BLOCKS]:
        for party in _block_parties(block):
            yield from _read(party, opening)
    if len(config.tls) > MOST_BLOCKS:
        yield problem(
            SpecError(f"more than {MOST_BLOCKS} `tls` blocks", place=str(path), hint="split it")
        )


def _block_parties(block: TlsBlock) -> Iterator[_Party]:
    usages = [Usage.SERVER] if block.context.accepts else []
    usages += [Usage.CLIENT] if block.context.dials else []
    bundle = block.ca_file.path if block.ca_file else ""
    pairs = [(each.cert_file.path, each.key_file.path) for each in block.certificates]
    for chain, key in pairs or [("", "")]:
        yield _Party(
            name=writable(f"{block.place.file}: {block.name}"),
            kind=Kind.NATS,
            place=writable(str(block.place)),
            chain=chain,
            key=key,
            bundle=bundle,
            usages=tuple(usages),
            stacks=(Stack.GO,) if block.context in _AMONG_SERVERS else BOTH_STACKS,
        )


def read_fleet_file(data: bytes, *, path: Path, opening: Opening) -> Iterator[Finding]:
    """Yield a source for every endpoint of a fleet file that names files."""
    described = read_fleet(data, place=str(path))
    for group in described.groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                if endpoint.certificate or endpoint.ca:
                    yield from _read(_endpoint_party(path, instance, endpoint), opening)


def _endpoint_party(
    path: Path, instance: InstanceDescription, endpoint: EndpointDescription
) -> _Party:
    home = path.parent / (instance.working_directory or "")
    chain, key, bundle = (
        str(home / each) if each else ""
        for each in (endpoint.certificate, endpoint.key, endpoint.ca)
    )
    return _Party(
        name=writable(f"{path}: {instance.name}/{endpoint.name}"),
        kind=Kind.FLEET,
        place=writable(f"{path}: {instance.name}/{endpoint.name}"),
        chain=chain,
        key=key,
        bundle=bundle,
        usages=_USAGES.get(endpoint.role, ()),
        stacks=BOTH_STACKS,
    )


_BOTH = (Usage.SERVER, Usage.CLIENT)
_USAGES: Mapping[Role, tuple[Usage, ...]] = MappingProxyType(
    {
        **dict.fromkeys((Role.ROUTE, Role.GATEWAY), _BOTH),
        **dict.fromkeys((Role.GATEWAY_REMOTE, Role.LEAF_REMOTE, Role.CLIENT), (Usage.CLIENT,)),
        **dict.fromkeys((Role.CLIENT_PORT, Role.LEAFNODE, Role.WEBSOCKET), (Usage.SERVER,)),
        **dict.fromkeys((Role.MQTT, Role.MONITORING, Role.TLS), (Usage.SERVER,)),
    }
)


def _read(party: _Party, opening: Opening) -> Iterator[Finding]:
    if opening.patience.over:
        yield problem(
            SpecError("not read: the time is up", place=party.place, hint="inspect it by itself")
        )
        return
    contents: dict[str, bytes] = {}
    parts: list[Part] = []
    for file in dict.fromkeys(each for each in (party.chain, party.key, party.bundle) if each):
        found = _file(file, party)
        if isinstance(found, Problem):
            parts.append(found)
            continue
        contents[file] = found
        try:
            parts += parts_of(found, place=writable(file), opening=opening)
        except PemError as error:
            parts.append(problem(error))
    certificates = tuple(each for each in parts if isinstance(each, FoundCertificate))
    if certificates or not any(isinstance(each, Problem) for each in parts):
        yield Source(
            name=party.name,
            kind=party.kind,
            certificates=certificates,
            keys=tuple(each for each in parts if isinstance(each, FoundKey)),
            chain=_loaded(contents.get(party.chain)),
            trusts=_loaded(contents.get(party.bundle)),
            usages=party.usages,
            stacks=party.stacks,
        )
    yield from (each for each in parts if isinstance(each, Problem))


def _file(file: str, party: _Party) -> bytes | Problem:
    try:
        return read_file(Path(file), place=party.place)
    except RolloverError as error:
        return problem(error)


def _loaded(data: bytes | None) -> tuple[Certificate, ...]:
    """Return what the party loads of a file: nats-server skips what it cannot read."""
    return loaded_by_go(data) if data else ()
