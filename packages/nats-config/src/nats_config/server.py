"""What a configuration makes of a server: its ports, peers, TLS and accounts, typed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

import msgspec

from nats_config.config import Config
from nats_config.errors import NatsConfigError
from nats_config.reload import is_known_option
from nats_config.sections import Located, Section
from nats_config.tls import TlsBlock, TlsContext, read_tls
from nats_config.tree import ConfigRemark, Field, Position, Table, fold


class GatewayRemote(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that the server dials over its gateway."""

    name: str
    urls: tuple[Url, ...]
    tls: TlsBlock | None
    """None: the gateway's own block is used."""
    place: Position


class LeafRemote(msgspec.Struct, frozen=True, kw_only=True):
    """A hub that the server dials as a leaf node."""

    index: int
    urls: tuple[Url, ...]
    account: str
    tls: TlsBlock | None
    """None: no client certificate, and the system's roots where the hub speaks TLS."""
    disabled: bool
    place: Position


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One server as its configuration describes it."""

    path: str
    digest: str
    server_name: str
    """Empty: the server takes its random id as its name."""
    cluster_name: str
    gateway_name: str
    listeners: tuple[ServerListener, ...]
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
    remarks: tuple[ConfigRemark, ...]

    def listener(self, kind: PortKind) -> ServerListener | None:
        """Return the listener of a kind, None when the server does not open that port."""
        return next((listener for listener in self.listeners if listener.port_kind is kind), None)

    def block(self, context: TlsContext, *, remote: str = "") -> TlsBlock | None:
        """Return the `tls` block of a context, None when it has none."""
        wanted = (context, remote)
        return next((block for block in self.tls if (block.context, block.remote) == wanted), None)


_CONTEXTS = (
    (TlsContext.CLUSTER, ("cluster",)),
    (TlsContext.GATEWAY, ("gateway",)),
    (TlsContext.LEAFNODES, ("leafnodes", "leaf")),
    (TlsContext.WEBSOCKET, ("websocket", "ws")),
    (TlsContext.MQTT, ("mqtt",)),
)
_ADVERTISE = ("advertise", "cluster_advertise", "leafnode_advertise")


def read_server_config(config: Config, *, cwd: str | os.PathLike[str]) -> ServerConfig:
    """Return what `config` says about a server whose process runs in `cwd`.

    Relative paths of certificates are resolved against `cwd`, as nats-server does. Raises
    NatsConfigError, with the place, for a value of the wrong type or kind.
    """
    directory = PurePath(os.path.abspath(cwd))  # noqa: PTH100 - Path.resolve would follow links
    remarks = list(config.remarks)
    start = Position(config.path, 1, 1)
    top = Section(config.root, name="", place=start, remarks=remarks)
    gateway, leafnodes = top.map("gateway"), top.map("leafnodes", "leaf")
    remotes = tuple(_gateway_remotes(gateway, directory)) if gateway else ()
    leaf_remotes = tuple(_leaf_remotes(leafnodes, directory)) if leafnodes else ()
    dialed = [*(remote.tls for remote in remotes), *(remote.tls for remote in leaf_remotes)]
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
        if (
            not is_known_option(name, fold(field.name))
            and field.place not in config.tree.definitions
        ):
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


def _listeners(top: Section) -> Iterator[ServerListener]:
    client = read_address(top)
    if client.port == 0:
        client = msgspec.structs.replace(client, port=DEFAULT_CLIENT_PORT)
    advertise = top.string("client_advertise")
    yield make_listener(PortKind.CLIENT, client, advertise=advertise)
    for context, names in _CONTEXTS:
        section = top.map(*names)
        if section is None:
            continue
        address = read_address(section)
        if address.port:
            yield make_listener(
                PortKind(context.value), address, advertise=section.string(*_ADVERTISE)
            )
    yield from _monitoring(top, client.host)


def _monitoring(top: Section, client_host: str) -> Iterator[ServerListener]:
    """Yield the monitoring ports, whose host is that of the client port if not set."""
    # Both ports share one host (HTTPHost of server/opts.go): what the last of them said.
    host = ""
    for kind, listen, ports in (
        (PortKind.HTTP, "http", ("http_port", "monitor_port")),
        (PortKind.HTTPS, "https", ("https_port",)),
    ):
        field = top.find(listen)
        address = split_listen(top, field) if field else None
        port = top.integer(*ports)
        if address is None and port is not None:
            address = ListenAddress(host="", port=port.value, place=port.place)
        if address is not None and address.port:
            host = address.host or host
            yield make_listener(kind, address, host=host or client_host)


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


# Addresses: where a server listens, and the URLs that it dials.

DEFAULT_HOST = "0.0.0.0"  # noqa: S104 - what nats-server binds to when nothing is said
DEFAULT_CLIENT_PORT = 4222
DEFAULT_LEAF_PORT = 7422
_ANY_PORT = -1
_PORTS = range(1, 65536)


class PortKind(StrEnum):
    """What a port is for."""

    CLIENT = "client"
    CLUSTER = "cluster"
    GATEWAY = "gateway"
    LEAFNODES = "leafnodes"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"
    HTTP = "http"
    HTTPS = "https"


class ServerListener(msgspec.Struct, frozen=True, kw_only=True):
    """An address that the server listens on."""

    port_kind: PortKind
    host: str
    port: int
    """0: the server picks a free one."""
    place: Position
    advertise: str = ""
    """The address that the server tells others instead, as written."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that the server dials, without its password."""

    scheme: str
    host: str
    port: int
    """0: none is written."""
    user: str
    place: Position


class ListenAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Host and port as one section gives them; the port 0 where it is not set."""

    host: str
    port: int
    place: Position


def read_address(section: Section, *, listen: str = "listen") -> ListenAddress:
    """Return what `listen`, `host` and `port` of a section say together."""
    both = section.find(listen)
    host = section.text("host", "net")
    port = section.integer("port")
    address = split_listen(section, both) if both else None
    if port is not None:
        check_port(section.find("port"), port.value, section)
    if address is None:
        place = port.place if port else host.place if host else section.place
        return ListenAddress(
            host=host.value if host else "", port=port.value if port else 0, place=place
        )
    _remark_both(section, listen)
    return address


def _remark_both(section: Section, listen: str) -> None:
    other = section.find("port") or section.find("host", "net")
    if other is not None:
        section.remark(
            "same-field-twice",
            other,
            f"`{listen}` sets the same: nats-server takes one of them at random",
        )


def split_listen(section: Section, field: Field) -> ListenAddress:
    """Return the address of a `listen` field, a port or `host:port` (Go's net.SplitHostPort)."""
    value = field.node.value
    host = ""
    if isinstance(value, str):
        found = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^\[\]:]*)):([+-]?[0-9]+)", value)
        if found is None:
            raise section.wrong(field, "a port, or `host:port` (`[address]:port` for IPv6)")
        host, value = found.group(1) or found.group(2) or "", int(found.group(3))
    if isinstance(value, bool) or not isinstance(value, int):
        raise section.wrong(field, "a port, or `host:port`")
    check_port(field, value, section)
    return ListenAddress(host=host, port=value, place=field.place)


def check_port(field: Field | None, port: int, section: Section) -> None:
    """Raise NatsConfigError for a port that cannot exist; -1 asks for any, 0 for the default."""
    if field is not None and port not in _PORTS and port not in (_ANY_PORT, 0):
        raise section.wrong(
            field, "a port from 1 to 65535, or -1 for any", hint=f"`{port}` is no port"
        )


def make_listener(
    kind: PortKind, address: ListenAddress, *, host: str = "", advertise: str = ""
) -> ServerListener:
    """Make a listener; `host` is used where the address has none."""
    return ServerListener(
        port_kind=kind,
        host=address.host or host or DEFAULT_HOST,
        port=0 if address.port == _ANY_PORT else address.port,
        place=address.place,
        advertise=advertise,
    )


def read_urls(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URLs of a field that is an array of strings.

    A text that nats-server reads and could never dial is left out, with a remark.
    """
    return tuple(_dialable(section, names[0], section.strings(*names), default_port))


def read_url(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URL of a field that is a string, nothing when it is not set."""
    text = section.text(*names)
    return tuple(_dialable(section, names[0], (text,) if text else (), default_port))


def read_url_or_urls(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URLs of a field that is a string or an array of strings."""
    field = section.find(*names)
    read = read_url if field and isinstance(field.node.value, str) else read_urls
    return read(section, *names, default_port=default_port)


def _dialable(
    section: Section, name: str, entries: Iterable[Located[str]], default_port: int
) -> Iterator[Url]:
    for entry in entries:
        url = _url(entry, default_port)
        if url is None:
            path = f"{section.name}.{name}"
            message = f"an entry of `{path}` is no URL with a host, and will never connect"
            remark = ConfigRemark(code="not-a-url", place=entry.place, message=message)
            section.remarks.append(remark)
        else:
            yield url


def _url(entry: Located[str], default_port: int) -> Url | None:
    try:
        parts = urlsplit(entry.value.strip())
        port = parts.port
    except ValueError:
        raise NatsConfigError(
            "this is not a URL",
            place=str(entry.place),
            hint="write `nats://host:port`; put `[` and `]` around an IPv6 address",
        ) from None
    if not parts.scheme or not parts.hostname:
        return None
    return Url(
        scheme=parts.scheme,
        host=parts.hostname,
        port=default_port if port is None else port,
        user=unquote(parts.username or ""),
        place=entry.place,
    )


# Accounts, and the names of their users, never their passwords.

DEFAULT_SYSTEM_ACCOUNT = "$SYS"
GLOBAL_ACCOUNT = "$G"
_USER_NAMES = ("user", "username", "nkey")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may connect."""

    name: str
    """User name, or public nkey; with `verify_and_map` what the certificate says."""
    account: str
    has_password: bool
    place: Position


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Who may connect, and to which account."""

    names: tuple[str, ...]
    system_account: str
    """Empty when there is none."""
    users: tuple[User, ...]

    @property
    def system_users(self) -> tuple[User, ...]:
        """The users who may ask a server to reload."""
        return tuple(user for user in self.users if user.account == self.system_account)


def read_accounts(top: Section) -> Accounts:
    """Read `accounts`, `authorization` and `system_account`."""
    names: list[str] = []
    users = list(_authorized(top))
    found = top.find("accounts")
    if found is not None and isinstance(found.node.value, Table):
        accounts = top.map("accounts")
        for field in accounts.fields() if accounts else ():
            # A variable that is defined here is no account.
            if accounts and isinstance(field.node.value, Table):
                names.append(field.name)
                users.extend(_users(accounts.inside(field), account=field.name))
    elif found is not None:
        names.extend(name.value for name in top.strings("accounts"))
    return Accounts(names=tuple(names), system_account=_system_account(top), users=tuple(users))


def _system_account(top: Section) -> str:
    named = top.string("system_account", "system")
    if named or top.flag("no_system_account", "no_system", "no_sys_acc"):
        return named
    return DEFAULT_SYSTEM_ACCOUNT


def _authorized(top: Section) -> tuple[User, ...]:
    authorization = top.map("authorization")
    if authorization is None:
        return ()
    single = _user(authorization, account=GLOBAL_ACCOUNT)
    return (*single, *_users(authorization, account=GLOBAL_ACCOUNT))


def _users(section: Section, *, account: str) -> tuple[User, ...]:
    found = (_user(user, account=account) for user in section.maps("users"))
    return tuple(user for users in found for user in users)


def _user(section: Section, *, account: str) -> tuple[User, ...]:
    name = section.text(*_USER_NAMES)
    if name is None:
        return ()
    has_password = section.find("pass", "password") is not None
    return (User(name=name.value, account=account, has_password=has_password, place=name.place),)
