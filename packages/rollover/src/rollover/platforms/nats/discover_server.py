"""From one server's configuration to the instance and endpoints that it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from nats_config.server import PortKind, ServerConfig, ServerListener
from nats_config.tls import TlsBlock, TlsContext
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.model import Role
from rollover.fleet.names import EndpointName, InstanceName

LOOPBACK = "127.0.0.1"
_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - what is compared with, not bound to

_LISTENING: Mapping[PortKind, tuple[TlsContext, Role]] = MappingProxyType(
    {
        PortKind.CLIENT: (TlsContext.TOP, Role.CLIENT_PORT),
        PortKind.CLUSTER: (TlsContext.CLUSTER, Role.ROUTE),
        PortKind.GATEWAY: (TlsContext.GATEWAY, Role.GATEWAY),
        PortKind.LEAFNODES: (TlsContext.LEAFNODES, Role.LEAFNODE),
        PortKind.WEBSOCKET: (TlsContext.WEBSOCKET, Role.WEBSOCKET),
        PortKind.MQTT: (TlsContext.MQTT, Role.MQTT),
        PortKind.HTTPS: (TlsContext.TOP, Role.MONITORING),
    }
)


class Notes:
    """Remarks as they come up, each once."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], None] = {}

    def add(self, subject: str, message: str) -> None:
        """Remember a remark."""
        self._said[subject, message] = None

    def all(self) -> Iterator[tuple[str, str]]:
        """Yield every subject and message, in the order in which they came up."""
        yield from self._said


def instance_of(config: ServerConfig, name: InstanceName, *, notes: Notes) -> InstanceDescription:
    """Return the instance: an endpoint for each `tls` block that is in use, and no other."""
    endpoints = (*_accepting(config, name, notes), *_dialling(config, name, notes))
    if not endpoints:
        notes.add(name, "it has no `tls` block in use: there is nothing to rotate on it")
    if config.block(TlsContext.RESOLVER) is not None:
        notes.add(name, "`resolver_tls` is not covered: rotate the account resolver by hand")
    return InstanceDescription(
        name=name,
        endpoints=endpoints,
        pid_file=config.pid_file or None,
        monitor=_monitor(config, name, notes),
    )


def _accepting(
    config: ServerConfig, name: InstanceName, notes: Notes
) -> Iterator[EndpointDescription]:
    for listener in config.listeners:
        if listener.port_kind not in _LISTENING:
            continue
        context, role = _LISTENING[listener.port_kind]
        block = config.block(context)
        if block is None:
            notes.add(f"{name}/{role}", "it listens in the clear: no TLS party, so no endpoint")
            continue
        # The monitoring port shares the block of the client port and asks for no certificate.
        monitoring = role is Role.MONITORING
        yield _endpoint(
            EndpointName(role.value),
            role,
            block,
            address=address_of(listener, f"{name}/{role}", notes),
            verify=block.demands_certificate and not monitoring,
            with_ca=not monitoring,
            notes=notes,
            subject=f"{name}/{role}",
        )


def _dialling(
    config: ServerConfig, name: InstanceName, notes: Notes
) -> Iterator[EndpointDescription]:
    for gateway in config.gateways:
        if gateway.tls is not None:
            endpoint = gateway_remote(gateway.name)
            yield _endpoint(
                endpoint,
                Role.GATEWAY_REMOTE,
                gateway.tls,
                notes=notes,
                subject=f"{name}/{endpoint}",
            )
    for leaf in config.leaf_remotes:
        if leaf.tls is not None and not leaf.disabled:
            endpoint = leaf_remote(leaf.index)
            yield _endpoint(
                endpoint, Role.LEAF_REMOTE, leaf.tls, notes=notes, subject=f"{name}/{endpoint}"
            )


def gateway_remote(name: str) -> EndpointName:
    """Return what the endpoint of a gateway remote with a `tls` block of its own is called."""
    return EndpointName(f"{Role.GATEWAY_REMOTE}-{name.replace('/', '-')}")


def leaf_remote(index: int) -> EndpointName:
    """Return what the endpoint of a leaf remote is called; the first one has no number."""
    return EndpointName(f"{Role.LEAF_REMOTE}-{index + 1}" if index else Role.LEAF_REMOTE.value)


def _endpoint(
    name: EndpointName,
    role: Role,
    block: TlsBlock,
    *,
    notes: Notes,
    subject: str,
    address: str | None = None,
    verify: bool = False,
    with_ca: bool = True,
) -> EndpointDescription:
    pair = block.certificates[0] if block.certificates else None
    if len(block.certificates) > 1:
        notes.add(subject, "of several certificates in `certs` only the first is served and kept")
    if verify and block.ca_file is None:
        notes.add(subject, "without `ca_file` it trusts every CA of the operating system")
    if block.pinned_certs:
        notes.add(subject, "`pinned_certs` must list the keys of new leaves before they are used")
    return EndpointDescription(
        name=name,
        role=role,
        address=address,
        certificate=pair.cert_file.path if pair is not None else None,
        key=pair.key_file.path if pair is not None else None,
        ca=block.ca_file.path if block.ca_file is not None and with_ca else None,
        verify=verify,
        handshake_first=block.handshake_first,
    )


def address_of(listener: ServerListener, subject: str, notes: Notes) -> str | None:
    """Return where to dial a listener, None when its port is not known."""
    if listener.advertise:
        host, _, port = listener.advertise.rpartition(":")
        if host and port.isdigit():
            return listener.advertise
        return written(listener.advertise.strip("[]"), listener.port) if listener.port else None
    if not listener.port:
        notes.add(subject, "its port is picked at start: fill in `address`, or name its monitor")
        return None
    if listener.host in _EVERYWHERE:
        notes.add(subject, f"it listens everywhere: `{LOOPBACK}` is written as its `address`")
        return written(LOOPBACK, listener.port)
    return written(listener.host, listener.port)


def written(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _monitor(config: ServerConfig, name: InstanceName, notes: Notes) -> str | None:
    for kind, scheme in ((PortKind.HTTP, "http"), (PortKind.HTTPS, "https")):
        listener = config.listener(kind)
        if listener is not None:
            address = address_of(listener, f"{name}/monitor", notes)
            return f"{scheme}://{address}" if address is not None else None
    notes.add(name, "it has no monitoring port: describe the system account to see its connections")
    return None
