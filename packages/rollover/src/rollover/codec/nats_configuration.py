"""What the product makes of `nats_config`: its errors as ours, its `tls` blocks by our roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from nats_config.errors import NatsConfigError
from nats_config.tls import TlsContext
from rollover.errors import ConfigError
from rollover.fleet.fleet import Role

CONTEXT_OF: Mapping[Role, TlsContext] = MappingProxyType(
    {
        Role.CLIENT_PORT: TlsContext.TOP,
        Role.ROUTE: TlsContext.CLUSTER,
        Role.GATEWAY: TlsContext.GATEWAY,
        Role.GATEWAY_REMOTE: TlsContext.GATEWAY_REMOTE,
        Role.LEAFNODE: TlsContext.LEAFNODES,
        Role.LEAF_REMOTE: TlsContext.LEAF_REMOTE,
        Role.WEBSOCKET: TlsContext.WEBSOCKET,
        Role.MQTT: TlsContext.MQTT,
    }
)
"""Where the `tls` block of an endpoint stands, by the role of the endpoint."""


@contextmanager
def config_errors() -> Iterator[None]:
    """Raise what `nats_config` refuses in the body as `ConfigError`, in the same words."""
    try:
        yield
    except NatsConfigError as error:
        raise ConfigError(
            error.problem, hint=error.hint, place=error.place, field=error.field
        ) from error
