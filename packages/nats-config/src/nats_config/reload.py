"""What a reload makes of every difference between two configurations, option by option.

nats-server refuses a reload as a whole: one option that it cannot reload holds back new
certificates that it could. So a change is looked at before it is delivered. Sources:
server/opts.go of nats-server 2.15 for the names, `diffOptions` of server/reload.go for the
effects; the effects of TLS options were measured on a running server. What is not known to be
reloadable is taken to be refused: a needless restart is announced, never a failed reload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from nats_config.digest import encoded
from nats_config.tls import IGNORED_OPTIONS, TLS_ALIASES, TlsContext
from nats_config.tree import Field, Position, Table, Tree, ValueNode, fold


class ReloadEffect(StrEnum):
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


def canonical_name(section: str, name: str) -> str:
    """Return the first name of an option; `name` is folded."""
    return ALIASES.get(section, {}).get(name, name)


def is_known_option(section: str, name: str) -> bool:
    """Whether nats-server has an option of this name, any of them, in a section."""
    first = canonical_name(section, name)
    return section not in RELOADED or first in RELOADED[section] or first in REFUSED[section]


def effect_of(section: str, name: str) -> ReloadEffect:
    """Return what a reload makes of a change to an option, by its first name."""
    return ReloadEffect.RELOADED if name in RELOADED.get(section, ()) else ReloadEffect.REFUSED


def tls_effect(context: TlsContext, name: str) -> ReloadEffect:
    """Return what a reload makes of a change to an option inside a `tls` block."""
    if name in _TLS_REFUSED[context]:
        return ReloadEffect.REFUSED
    return ReloadEffect.IGNORED if name in IGNORED_OPTIONS[context] else ReloadEffect.RELOADED


def tls_block_effect(context: TlsContext) -> ReloadEffect:
    """Return what a reload makes of a `tls` block that comes or goes as a whole."""
    return ReloadEffect.RELOADED if context in _TLS_REMOVABLE else ReloadEffect.REFUSED


# Says of every difference between two configurations what a reload would make of it.
#
# nats-server refuses a reload as a whole: one option that it cannot reload holds back new
# certificates that it could. So a change is looked at before it is delivered.


_SECTIONS = frozenset(("authorization", "cluster", "gateway", "leafnodes", "websocket", "mqtt"))
_TLS_CONTEXTS: Mapping[str, TlsContext] = {
    "": TlsContext.TOP,
    "cluster": TlsContext.CLUSTER,
    "gateway": TlsContext.GATEWAY,
    "gateway.gateways": TlsContext.GATEWAY_REMOTE,
    "leafnodes": TlsContext.LEAFNODES,
    "leafnodes.remotes": TlsContext.LEAF_REMOTE,
    "websocket": TlsContext.WEBSOCKET,
    "mqtt": TlsContext.MQTT,
}
_REMOTES: Mapping[str, str] = {"gateway.gateways": "name", "leafnodes.remotes": "urls"}
_RANDOM_PORT = -1


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One option that differs, and what a reload makes of it."""

    path: str
    """`cluster.tls.ca_file`, `leafnodes.remotes[0].urls`; options by their first names."""
    effect: ReloadEffect
    place: Position
    """Where it stands in the new configuration; in the old one if it is gone."""
    removed: bool = False
    """The option is in the old configuration only."""


def find_changes(before: Tree, after: Tree) -> tuple[FieldChange, ...]:
    """Return what differs between the running configuration and a new one, in its order.

    Conservative: a default that is written out counts as a change, and an option of unknown
    effect as refused. Definitions of variables are no options; what they change is reported
    where they are used.
    """
    pair = _Pair(before.root, after.root, before.definitions | after.definitions)
    return tuple(_section(pair, section="", path=""))


class _Pair:
    """The same section in both configurations."""

    def __init__(self, before: Table, after: Table, definitions: frozenset[Position]) -> None:
        self.before = before
        self.after = after
        self.definitions = definitions

    def differing(self, section: str) -> Iterator[tuple[str, Field | None, Field | None]]:
        """Yield the first name and both fields of each option that differs."""
        old, new = self._options(self.before, section), self._options(self.after, section)
        for name in dict.fromkeys((*new, *old)):
            was, now = old.get(name), new.get(name)
            if was is None or now is None or _text(was.node) != _text(now.node):
                yield name, was, now

    def _options(self, table: Table, section: str) -> dict[str, Field]:
        return {
            canonical_name(section, fold(field.name)): field
            for field in table.fields.values()
            if is_known_option(section, fold(field.name)) or field.place not in self.definitions
        }

    def inside(self, was: Field | None, now: Field | None) -> _Pair | None:
        """Return the maps that both fields hold, None when one is no map."""
        if was is None or now is None:
            return None
        return self.of(was.node, now.node)

    def of(self, was: ValueNode, now: ValueNode) -> _Pair | None:
        """Return the maps that both nodes hold, None when one is no map."""
        if isinstance(was.value, Table) and isinstance(now.value, Table):
            return _Pair(was.value, now.value, self.definitions)
        return None


def _section(pair: _Pair, *, section: str, path: str) -> Iterator[FieldChange]:
    for name, was, now in pair.differing(section):
        where = f"{path}.{name}".lstrip(".")
        inside = pair.inside(was, now)
        if name == "tls" and section in _TLS_CONTEXTS:
            yield from _tls(inside, _TLS_CONTEXTS[section], was, now, path=where)
        elif name == "resolver_tls" and not section:
            yield from _tls(inside, TlsContext.RESOLVER, was, now, path=where)
        elif not section and name in _SECTIONS and inside:
            yield from _section(inside, section=name, path=where)
        elif f"{section}.{name}" in _REMOTES and was and now:
            yield from _remotes(pair, was, now, section=f"{section}.{name}", path=where)
        else:
            yield _change(where, was, now, effect=_effect(section, name, was, now))


def _tls(
    inside: _Pair | None, context: TlsContext, was: Field | None, now: Field | None, *, path: str
) -> Iterator[FieldChange]:
    if inside is None:
        yield _change(path, was, now, effect=tls_block_effect(context))
        return
    for name, old, new in inside.differing("tls"):
        yield _change(f"{path}.{name}", old, new, effect=tls_effect(context, name))


def _effect(section: str, name: str, was: Field | None, now: Field | None) -> ReloadEffect:
    match section, name:
        case _, "port" if now is not None and now.node.value == _RANDOM_PORT:
            return ReloadEffect.RESTART
        case "", "authorization":
            return ReloadEffect.RELOADED
        # An account resolver can be changed, not come or go; JetStream can be switched while
        # its map stays away.
        case "", "resolver" if was and now:
            return ReloadEffect.RELOADED
        case "", "jetstream" if not (_holds_map(was) or _holds_map(now)):
            return ReloadEffect.RELOADED
    return effect_of(section, name)


def _holds_map(field: Field | None) -> bool:
    return field is not None and isinstance(field.node.value, Table)


def _remotes(
    pair: _Pair, was: Field, now: Field, *, section: str, path: str
) -> Iterator[FieldChange]:
    """Compare lists of remotes: those with the same name or URLs are the same remote."""
    key = _REMOTES[section]
    old, new = _by_key(was.node, key), _by_key(now.node, key)
    for name, (index, node) in new.items():
        earlier = old.get(name)
        inside = pair.of(earlier[1], node) if earlier else None
        if inside is not None:
            yield from _section(inside, section=section, path=f"{path}[{index}]")
        elif earlier is None:
            yield _whole_remote(section, f"{path}[{index}]", node, removed=False)
    for name, (index, node) in old.items():
        if name not in new:
            yield _whole_remote(section, f"{path}[{index}]", node, removed=True)


def _whole_remote(section: str, path: str, node: ValueNode, *, removed: bool) -> FieldChange:
    # Since 2.14 leaf remotes come and go with a reload; gateways do not.
    effect = ReloadEffect.RELOADED if section == "leafnodes.remotes" else ReloadEffect.REFUSED
    return FieldChange(path=path, effect=effect, place=node.place, removed=removed)


def _by_key(node: ValueNode, key: str) -> dict[str, tuple[int, ValueNode]]:
    found: dict[str, tuple[int, ValueNode]] = {}
    remotes = node.value if isinstance(node.value, tuple) else (node,)
    for index, remote in enumerate(remotes):
        identity = ""
        if isinstance(remote.value, Table):
            fields = {fold(field.name): field for field in remote.value.fields.values()}
            named = fields.get(key) or fields.get("url")
            identity = _text(named.node) if named else ""
        # Two remotes of one name are told apart by their order.
        same = sum(name.startswith(f"{identity}#") for name in found)
        found[f"{identity}#{same}"] = (index, remote)
    return found


def _change(
    path: str, was: Field | None, now: Field | None, *, effect: ReloadEffect
) -> FieldChange:
    field = now or was
    if field is None:
        raise ValueError(path)
    return FieldChange(path=path, effect=effect, place=field.place, removed=now is None)


def _text(node: ValueNode) -> str:
    return "".join(encoded(node.value))
