"""Says of every difference between two configurations what a reload would make of it.

nats-server refuses a reload as a whole: one option that it cannot reload holds back new
certificates that it could. So a change is looked at before it is delivered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from nats_config.digest import encoded
from nats_config.options import Effect, canonical, effect_of, known, tls_block_effect, tls_effect
from nats_config.position import Place
from nats_config.tls import TlsContext
from nats_config.tree import Field, Node, Table, Tree, fold

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
    effect: Effect
    place: Place
    """Where it stands in the new configuration; in the old one if it is gone."""
    removed: bool = False
    """The option is in the old configuration only."""


def changes(before: Tree, after: Tree) -> tuple[FieldChange, ...]:
    """Return what differs between the running configuration and a new one, in its order.

    Conservative: a default that is written out counts as a change, and an option of unknown
    effect as refused. Definitions of variables are no options; what they change is reported
    where they are used.
    """
    pair = _Pair(before.root, after.root, before.definitions | after.definitions)
    return tuple(_section(pair, section="", path=""))


class _Pair:
    """The same section in both configurations."""

    def __init__(self, before: Table, after: Table, definitions: frozenset[Place]) -> None:
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
            canonical(section, fold(field.name)): field
            for field in table.fields.values()
            if known(section, fold(field.name)) or field.place not in self.definitions
        }

    def inside(self, was: Field | None, now: Field | None) -> _Pair | None:
        """Return the maps that both fields hold, None when one is no map."""
        if was is None or now is None:
            return None
        return self.of(was.node, now.node)

    def of(self, was: Node, now: Node) -> _Pair | None:
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


def _effect(section: str, name: str, was: Field | None, now: Field | None) -> Effect:
    match section, name:
        case _, "port" if now is not None and now.node.value == _RANDOM_PORT:
            return Effect.RESTART
        case "", "authorization":
            return Effect.RELOADED
        # An account resolver can be changed, not come or go; JetStream can be switched while
        # its map stays away.
        case "", "resolver" if was and now:
            return Effect.RELOADED
        case "", "jetstream" if not (_holds_map(was) or _holds_map(now)):
            return Effect.RELOADED
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


def _whole_remote(section: str, path: str, node: Node, *, removed: bool) -> FieldChange:
    # Since 2.14 leaf remotes come and go with a reload; gateways do not.
    effect = Effect.RELOADED if section == "leafnodes.remotes" else Effect.REFUSED
    return FieldChange(path=path, effect=effect, place=node.place, removed=removed)


def _by_key(node: Node, key: str) -> dict[str, tuple[int, Node]]:
    found: dict[str, tuple[int, Node]] = {}
    items = node.value if isinstance(node.value, tuple) else (node,)
    for index, item in enumerate(items):
        identity = ""
        if isinstance(item.value, Table):
            fields = {fold(field.name): field for field in item.value.fields.values()}
            named = fields.get(key) or fields.get("url")
            identity = _text(named.node) if named else ""
        # Two remotes of one name are told apart by their order.
        same = sum(name.startswith(f"{identity}#") for name in found)
        found[f"{identity}#{same}"] = (index, item)
    return found


def _change(path: str, was: Field | None, now: Field | None, *, effect: Effect) -> FieldChange:
    field = now or was
    if field is None:
        raise ValueError(path)
    return FieldChange(path=path, effect=effect, place=field.place, removed=now is None)


def _text(node: Node) -> str:
    return "".join(encoded(node.value))
