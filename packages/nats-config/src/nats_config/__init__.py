"""Reads the configuration of nats-server exactly as nats-server does, and types what it says."""

from nats_config.accounts import Accounts, User
from nats_config.addresses import Listener, Port, Url
from nats_config.command_line import CommandLine, read_unit
from nats_config.digest import digest
from nats_config.edit import with_string
from nats_config.errors import NatsConfigError
from nats_config.options import Effect
from nats_config.parse import parse_text
from nats_config.position import Place, Remark
from nats_config.read import Config, read_config
from nats_config.reloadable import FieldChange, changes
from nats_config.server import GatewayRemote, LeafRemote, ServerConfig, server_config
from nats_config.tls import CertificateFiles, TlsBlock, TlsContext, TlsFile
from nats_config.tree import Field, Node, Table, Tree

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
