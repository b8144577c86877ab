"""What a configuration makes of a server: its ports, peers, TLS and accounts, typed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import msgspec

from rollover.nats_config.accounts import Accounts, read_accounts
from rollover.nats_config.addresses import (
    DEFAULT_CLIENT_PORT,
    DEFAULT_LEAF_PORT,
    Address,
    Listener,
    Port,
    Url,
    listener,
    read_address,
    read_url,
    read_url_or_urls,
    read_urls,
    split_listen,
)
from rollover.nats_config.fields import Section
from rollover.nats_config.options import known
from rollover.nats_config.position import Place, Remark
from rollover.nats_config.read import Config
from rollover.nats_config.tls import TlsBlock, TlsContext
from rollover.nats_config.tls_reading import read_tls
from rollover.nats_config.tree import Table, fold


class GatewayRemote(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that the server dials over its gateway."""

    name: str
    urls: tuple[Url, ...]
    tls: TlsBlock | None
    """None: the gateway's own block is used."""
    place: Place


class LeafRemote(msgspec.Struct, frozen=True, kw_only=True):
    """A hub that the server dials as a leaf node."""

    index: int
    urls: tuple[Url, ...]
    account: str
    tls: TlsBlock | None
    """None: no client certificate, and the system's roots where the hub speaks TLS."""
    disabled: bool
    place: Place


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One server as its configuration describes it."""

    path: str
    digest: str
    server_name: str
    """Empty: the server takes its random id as its name."""
    cluster_name: str
    gateway_name: str
    listeners: tuple[Listener, ...]
    tls: tuple[TlsBlock, ...]
    """Every block, also those of remotes."""
    routes: tuple[Url, ...]
    gateways: tuple[GatewayRemote, ...]
    leaf_remotes: tuple[LeafRemote, ...]
    accounts: Accounts
    pid_file: str
    """Resolved; empty when there is none."""
    store_dir: str
    """Resolved; empty when there is none."""
    jetstream: bool
    allow_non_tls: bool
    remarks: tuple[Remark, ...]

    def listener(self, kind: Port) -> Listener | None:
        """Return the listener of a kind, None when the server does not open that port."""
        return next((one for one in self.listeners if one.port_kind is kind), None)

    def block(self, context: TlsContext, *, remote: str = "") -> TlsBlock | None:
        """Return the `tls` block of a context, None when it has none."""
        wanted = (context, remote)
        return next((one for one in self.tls if (one.context, one.remote) == wanted), None)


_CONTEXTS = (
    (TlsContext.CLUSTER, ("cluster",)),
    (TlsContext.GATEWAY, ("gateway",)),
    (TlsContext.LEAFNODES, ("leafnodes", "leaf")),
    (TlsContext.WEBSOCKET, ("websocket", "ws")),
    (TlsContext.MQTT, ("mqtt",)),
)
_ADVERTISE = ("advertise", "cluster_advertise", "leafnode_advertise")


def server_config(config: Config, *, cwd: str | os.PathLike[str]) -> ServerConfig:
    """Return what `config` says about a server whose process runs in `cwd`.

    Relative paths of certificates are resolved against `cwd`, as nats-server does. Raises
    NatsConfigError, with the place, for a value of the wrong type or kind.
    """
    directory = PurePath(os.path.abspath(cwd))  # noqa: PTH100 - Path.resolve would follow links
    remarks = list(config.remarks)
    start = Place(config.path, 1, 1)
    top = Section(config.root, name="", place=start, remarks=remarks)
    gateway, leafnodes = top.map("gateway"), top.map("leafnodes", "leaf")
    remotes = tuple(_gateway_remotes(gateway, directory)) if gateway else ()
    leaf_remotes = tuple(_leaf_remotes(leafnodes, directory)) if leafnodes else ()
    dialed = [*(one.tls for one in remotes), *(one.tls for one in leaf_remotes)]
    blocks = [*_blocks(top, directory), *(block for block in dialed if block)]
    cluster = top.map("cluster")
    _remark_unknown(top, "", config)
    for context, names in _CONTEXTS:
        section = top.map(*names)
        if section is not None:
            _remark_unknown(section, context.value, config)
    return ServerConfig(
        path=config.path,
        digest=config.digest,
        server_name=top.string("server_name"),
        cluster_name=cluster.string("name") if cluster else "",
        gateway_name=gateway.string("name") if gateway else "",
        listeners=tuple(_listeners(top)),
        tls=tuple(blocks),
        routes=read_urls(cluster, "routes") if cluster else (),
        gateways=remotes,
        leaf_remotes=leaf_remotes,
        accounts=read_accounts(top),
        pid_file=_resolved(top.string("pid_file", "pidfile"), directory),
        store_dir=_resolved(_store_dir(top), directory),
        jetstream=_jetstream(top),
        allow_non_tls=top.flag("allow_non_tls"),
        # Sections are read more than once, and say the same each time.
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _remark_unknown(section: Section, name: str, config: Config) -> None:
    for field in section.fields():
        if not known(name, fold(field.name)) and field.place not in config.tree.definitions:
            section.remark(
                "unknown-field",
                field,
                f"nats-server 2.15 knows no field `{section.path(field)}` and refuses to start",
            )


def _resolved(path: str, directory: PurePath) -> str:
    return str(Path(directory) / path) if path else ""


def _blocks(top: Section, cwd: PurePath) -> Iterator[TlsBlock]:
    block = top.map("tls")
    if block is not None:
        yield read_tls(block, TlsContext.TOP, cwd=cwd)
    for context, names in _CONTEXTS:
        section = top.map(*names)
        inside = section.map("tls") if section else None
        if inside is not None:
            yield read_tls(inside, context, cwd=cwd)
    resolver = top.map("resolver_tls")
    if resolver is not None:
        yield read_tls(resolver, TlsContext.RESOLVER, cwd=cwd)


def _gateway_remotes(gateway: Section, cwd: PurePath) -> Iterator[GatewayRemote]:
    for section in gateway.maps("gateways"):
        name = section.string("name")
        tls = section.map("tls")
        yield GatewayRemote(
            name=name,
            urls=(*read_url(section, "url"), *read_urls(section, "urls")),
            tls=read_tls(tls, TlsContext.GATEWAY_REMOTE, cwd=cwd, remote=name) if tls else None,
            place=section.place,
        )


def _leaf_remotes(leafnodes: Section, cwd: PurePath) -> Iterator[LeafRemote]:
    for index, section in enumerate(leafnodes.maps("remotes")):
        tls = section.map("tls")
        yield LeafRemote(
            index=index,
            urls=read_url_or_urls(section, "url", "urls", default_port=DEFAULT_LEAF_PORT),
            account=section.string("account", "local"),
            tls=read_tls(tls, TlsContext.LEAF_REMOTE, cwd=cwd, remote=str(index)) if tls else None,
            disabled=section.flag("disabled"),
            place=section.place,
        )


def _listeners(top: Section) -> Iterator[Listener]:
    client = read_address(top)
    if client.port == 0:
        client = msgspec.structs.replace(client, port=DEFAULT_CLIENT_PORT)
    advertise = top.string("client_advertise")
    yield listener(Port.CLIENT, client, advertise=advertise)
    for context, names in _CONTEXTS:
        section = top.map(*names)
        if section is None:
            continue
        address = read_address(section)
        if address.port:
            yield listener(Port(context.value), address, advertise=section.string(*_ADVERTISE))
    yield from _monitoring(top, client.host)


def _monitoring(top: Section, client_host: str) -> Iterator[Listener]:
    """Yield the monitoring ports, whose host is that of the client port if not set."""
    hosts = ""
    for kind, listen, ports in (
        (Port.HTTP, "http", ("http_port", "monitor_port")),
        (Port.HTTPS, "https", ("https_port",)),
    ):
        field = top.find(listen)
        address = split_listen(top, field) if field else None
        port = top.integer(*ports)
        if address is None and port is not None:
            address = Address(host="", port=port.value, place=port.place)
        if address is not None and address.port:
            hosts = address.host or hosts
            yield listener(kind, address, host=hosts or client_host)


def _store_dir(top: Section) -> str:
    jetstream = top.find("jetstream")
    section = (
        top.map("jetstream") if jetstream and isinstance(jetstream.node.value, Table) else None
    )
    inside = section.string("store_dir", "storedir", "store") if section else ""
    return inside or top.string("store_dir", "storedir")


def _jetstream(top: Section) -> bool:
    field = top.find("jetstream")
    if field is None:
        return False
    match field.node.value:
        case bool(on):
            return on
        case str(text) if text.lower() in ("enabled", "enable", "disabled", "disable"):
            return text.lower().startswith("enable")
        case Table():
            section = top.map("jetstream")
            enabled = section.boolean("enabled", "enable") if section else None
            return enabled is None or enabled.value
    raise top.wrong(field, "a boolean, `enabled`, `disabled` or a map")
