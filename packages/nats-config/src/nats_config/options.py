"""The options of nats-server 2.15 by section, and what a reload makes of a change to each.

Sources: server/opts.go for the names, `diffOptions` of server/reload.go for the effects; the
effects of TLS options were measured on a running server. What is not known to be reloadable is
taken to be refused: a needless restart is announced, never a failed reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from nats_config.tls import ALIASES as TLS_ALIASES
from nats_config.tls import IGNORED, TlsContext


class Effect(StrEnum):
    """What a reload makes of a change."""

    RELOADED = "reloaded"
    """It takes effect: for TLS, with the next handshake."""
    IGNORED = "ignored"
    """Nothing makes use of the option in its context."""
    RESTART = "restart"
    """The reload succeeds, and the change waits for a restart."""
    REFUSED = "refused"
    """The server refuses the whole reload, with everything else that changed."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALIASES: Mapping[str, Mapping[str, str]] = {
    "": {
        "net": "host",
        "maps": "mappings",
        "no_sublist_cache": "disable_sublist_cache",
        "monitor_port": "http_port",
        "leaf": "leafnodes",
        "storedir": "store_dir",
        "logfile": "log_file",
        "logfile_size_limit": "log_size_limit",
        "logfile_max_num": "log_max_num",
        "pidfile": "pid_file",
        "max_conn": "max_connections",
        "max_subs": "max_subscriptions",
        "max_subscription_tokens": "max_sub_tokens",
        "operators": "operator",
        "roots": "operator",
        "root": "operator",
        "root_operators": "operator",
        "root_operator": "operator",
        "account_resolver": "resolver",
        "accounts_resolver": "resolver",
        "system": "system_account",
        "no_system": "no_system_account",
        "no_sys_acc": "no_system_account",
        "trusted": "trusted_keys",
        "ws": "websocket",
    },
    "authorization": {
        "username": "user",
        "pass": "password",
        "default_permission": "permissions",
        "default_permissions": "permissions",
        "auth_hook": "auth_callout",
    },
    "cluster": {"net": "host", "cluster_advertise": "advertise"},
    "gateway": {"net": "host", "reject_unknown_cluster": "reject_unknown"},
    "leafnodes": {
        "net": "host",
        "leafnode_advertise": "advertise",
        "reconnect_delay": "reconnect",
        "reconnect_interval": "reconnect",
        "minimum_version": "min_version",
        "isolate_leafnode_interest": "isolate",
    },
    "websocket": {"net": "host", "authentication": "authorization", "compress": "compression"}
    | dict.fromkeys(
        ("allowed_origin", "allow_origins", "allow_origin", "origins", "origin"), "allowed_origins"
    ),
    "mqtt": {
        "net": "host",
        "authentication": "authorization",
        "ackwait": "ack_wait",
        "api_timeout": "js_api_timeout",
        "max_pending": "max_ack_pending",
        "max_inflight": "max_ack_pending",
        "consumer_auto_cleanup": "consumer_inactive_threshold",
    },
    "gateway.gateways": {},
    "leafnodes.remotes": {},
    "tls": TLS_ALIASES,
}
"""Other names of an option, by section."""

RELOADED: Mapping[str, frozenset[str]] = {
    "": _words(
        "debug trace trace_verbose trace_headers logtime logtime_utc log_file syslog remote_syslog "
        "accounts mappings tls resolver_tls server_tags server_metadata max_connections pid_file "
        "ports_file_dir max_control_line max_payload ping_interval ping_max write_deadline "
        "client_advertise connect_error_reports reconnect_error_reports max_traced_msg_len "
        "default_sentinel ocsp ocsp_cache prof_block_rate no_fast_producer_stall"
    ),
    "authorization": _words("user password token timeout users permissions"),
    "cluster": _words(
        "name authorization routes tls advertise no_advertise connect_retries connect_backoff "
        "permissions pool_size accounts compression ping_interval ping_max write_deadline "
        "write_timeout"
    ),
    "gateway": frozenset(),
    "leafnodes": _words("compression remotes"),
    "websocket": frozenset(),
    "mqtt": _words(
        "ack_wait max_ack_pending stream_replicas consumer_replicas consumer_memory_storage "
        "consumer_inactive_threshold"
    ),
    "gateway.gateways": frozenset(),
    "leafnodes.remotes": _words("compression disabled"),
}
"""Options, by their first names, whose change a reload applies."""

REFUSED: Mapping[str, frozenset[str]] = {
    "": _words(
        "listen port server_name host disable_sublist_cache authorization http https http_port "
        "https_port http_base_path cluster gateway leafnodes store_dir jetstream log_size_limit "
        "log_max_num prof_port max_pending proxy_protocol max_subscriptions max_sub_tokens "
        "allow_non_tls write_timeout lame_duck_duration lame_duck_grace_period operator resolver "
        "resolver_preload resolver_pinned_accounts no_auth_user system_account no_system_account "
        "no_header_support trusted_keys websocket mqtt feature_flags default_js_domain "
        "max_closed_clients proxies"
    ),
    "authorization": _words("auth_callout proxy_required"),
    "cluster": _words("listen port host"),
    "gateway": _words(
        "name listen port host authorization tls advertise connect_retries connect_backoff "
        "gateways reject_unknown write_deadline write_timeout"
    ),
    "leafnodes": _words(
        "listen port host authorization reconnect dial_timeout tls advertise no_advertise "
        "min_version isolate write_deadline write_timeout"
    ),
    "websocket": _words(
        "listen port host advertise no_tls tls same_origin allowed_origins handshake_timeout "
        "compression authorization jwt_cookie user_cookie pass_cookie token_cookie no_auth_user "
        "headers ping_interval"
    ),
    "mqtt": _words(
        "listen port host tls authorization no_auth_user js_api_timeout js_domain "
        "reject_qos2_publish downgrade_qos2_subscribe"
    ),
    "gateway.gateways": _words("name url urls tls"),
    "leafnodes.remotes": _words(
        "no_randomize dont_randomize url urls account local creds credentials nkey seed tls hub "
        "deny_imports deny_import deny_exports deny_export ws_compress ws_compression "
        "websocket_compress websocket_compression ws_no_masking websocket_no_masking "
        "jetstream_cluster_migrate js_cluster_migrate isolate_leafnode_interest isolate "
        "request_isolation first_info_timeout dial_timeout proxy ignore_discovered_servers"
    ),
}
"""The other options: their change makes the server refuse a reload, as does the change of a
whole section that has rows of its own."""

_TLS_REFUSED: Mapping[TlsContext, frozenset[str]] = {
    TlsContext.TOP: _words("verify_and_map connection_rate_limit"),
    TlsContext.CLUSTER: frozenset(),
    TlsContext.GATEWAY: _words("timeout verify_and_map verify_cert_and_check_known_urls"),
    TlsContext.GATEWAY_REMOTE: _words("timeout"),
    TlsContext.LEAFNODES: _words("timeout verify_and_map pinned_certs"),
    TlsContext.LEAF_REMOTE: _words("timeout"),
    TlsContext.WEBSOCKET: _words("verify_and_map pinned_certs"),
    TlsContext.MQTT: _words("timeout verify_and_map pinned_certs"),
    TlsContext.RESOLVER: frozenset(),
}
_TLS_REMOVABLE = frozenset((TlsContext.TOP, TlsContext.CLUSTER, TlsContext.RESOLVER))


def canonical(section: str, name: str) -> str:
    """Return the first name of an option; `name` is folded."""
    return ALIASES.get(section, {}).get(name, name)


def known(section: str, name: str) -> bool:
    """Whether nats-server has an option of this name, any of them, in a section."""
    first = canonical(section, name)
    return section not in RELOADED or first in RELOADED[section] or first in REFUSED[section]


def effect_of(section: str, name: str) -> Effect:
    """Return what a reload makes of a change to an option, by its first name."""
    return Effect.RELOADED if name in RELOADED.get(section, ()) else Effect.REFUSED


def tls_effect(context: TlsContext, name: str) -> Effect:
    """Return what a reload makes of a change to an option inside a `tls` block."""
    if name in _TLS_REFUSED[context]:
        return Effect.REFUSED
    return Effect.IGNORED if name in IGNORED[context] else Effect.RELOADED


def tls_block_effect(context: TlsContext) -> Effect:
    """Return what a reload makes of a `tls` block that comes or goes as a whole."""
    return Effect.RELOADED if context in _TLS_REMOVABLE else Effect.REFUSED
