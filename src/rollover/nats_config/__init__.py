"""Reads the configuration of nats-server exactly as nats-server does, and types what it says."""

from rollover.nats_config.accounts import Accounts, User
from rollover.nats_config.addresses import Listener, Port, Url
from rollover.nats_config.command_line import CommandLine, read_unit
from rollover.nats_config.digest import digest
from rollover.nats_config.edit import with_string
from rollover.nats_config.errors import NatsConfigError
from rollover.nats_config.options import Effect
from rollover.nats_config.parse import parse_text
from rollover.nats_config.position import Place, Remark
from rollover.nats_config.read import Config, read_config
from rollover.nats_config.reloadable import FieldChange, changes
from rollover.nats_config.server import (
    GatewayRemote,
    LeafRemote,
    ServerConfig,
    server_config,
)
from rollover.nats_config.tls import CertificateFiles, TlsBlock, TlsContext, TlsFile
from rollover.nats_config.tree import Field, Node, Table, Tree

__all__ = [
    "Accounts",
    "CertificateFiles",
    "CommandLine",
    "Config",
    "Effect",
    "Field",
    "FieldChange",
    "GatewayRemote",
    "LeafRemote",
    "Listener",
    "NatsConfigError",
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
    "read_unit",
    "server_config",
    "with_string",
]
