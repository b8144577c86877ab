"""Reads the configuration of nats-server exactly as nats-server does, and types what it says."""

from nats_config.config import Config, read_config, replace_string
from nats_config.digest import compute_digest
from nats_config.errors import NatsConfigError
from nats_config.parser import parse_text
from nats_config.reload import FieldChange, ReloadEffect, find_changes
from nats_config.server import (
    Accounts,
    GatewayRemote,
    LeafRemote,
    PortKind,
    ServerConfig,
    ServerListener,
    Url,
    User,
    read_server_config,
)
from nats_config.systemd_unit import CommandLine, read_unit
from nats_config.tls import CertificateFiles, TlsBlock, TlsContext, TlsFile
from nats_config.tree import ConfigRemark, Field, Position, Table, Tree, ValueNode

__all__ = [
    "Accounts",
    "CertificateFiles",
    "CommandLine",
    "Config",
    "ConfigRemark",
    "Field",
    "FieldChange",
    "GatewayRemote",
    "LeafRemote",
    "NatsConfigError",
    "PortKind",
    "Position",
    "ReloadEffect",
    "ServerConfig",
    "ServerListener",
    "Table",
    "TlsBlock",
    "TlsContext",
    "TlsFile",
    "Tree",
    "Url",
    "User",
    "ValueNode",
    "compute_digest",
    "find_changes",
    "parse_text",
    "read_config",
    "read_server_config",
    "read_unit",
    "replace_string",
]
