"""Reads the configuration of nats-server exactly as nats-server does, and types what it says."""

from rollover.platforms.nats.config.accounts import Accounts, User
from rollover.platforms.nats.config.addresses import Listener, Port, Url
from rollover.platforms.nats.config.digest import digest
from rollover.platforms.nats.config.options import Effect
from rollover.platforms.nats.config.parse import parse_text
from rollover.platforms.nats.config.position import Place, Remark
from rollover.platforms.nats.config.read import Config, read_config
from rollover.platforms.nats.config.reloadable import FieldChange, changes
from rollover.platforms.nats.config.server import (
    GatewayRemote,
    LeafRemote,
    ServerConfig,
    server_config,
)
from rollover.platforms.nats.config.tls import CertificateFiles, TlsBlock, TlsContext, TlsFile
from rollover.platforms.nats.config.tree import Field, Node, Table, Tree

__all__ = [
    "Accounts",
    "CertificateFiles",
    "Config",
    "Effect",
    "Field",
    "FieldChange",
    "GatewayRemote",
    "LeafRemote",
    "Listener",
    "Node",
    "Place",
    "Port",
    "Remark",
    "ServerConfig",
    "Table",
    "TlsBlock",
    "TlsContext",
    "TlsFile",
    "Tree",
    "Url",
    "User",
    "changes",
    "digest",
    "parse_text",
    "read_config",
    "server_config",
]
