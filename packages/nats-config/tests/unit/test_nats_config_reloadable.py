"""Which differences a reload applies, and which make the server refuse it."""

from __future__ import annotations

import pytest

from nats_config import FieldChange, Position, ReloadEffect, Tree, find_changes, parse_text
from nats_config.errors import NatsConfigError


def no_files(path: str, place: Position) -> bytes:
    """Stand for an empty folder."""
    raise NatsConfigError(f"`{path}` is not there", place=str(place), hint="write it")


def tree(text: str, name: str) -> Tree:
    """Read a text that includes nothing."""
    return parse_text(text, place=name, include=no_files, environment={})


def difference(before: str, after: str) -> tuple[FieldChange, ...]:
    """Return what differs between two texts."""
    return find_changes(tree(before, "old.conf"), tree(after, "new.conf"))


def effects(before: str, after: str) -> dict[str, ReloadEffect]:
    """Return the effect of each difference by its path."""
    return {change.path: change.effect for change in difference(before, after)}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("tls { ca_file: a }", "tls { ca_file: b }", {"tls.ca_file": ReloadEffect.RELOADED}),
        ("tls { timeout: 1 }", "tls { timeout: 2 }", {"tls.timeout": ReloadEffect.RELOADED}),
        (
            "gateway { tls { timeout: 1 } }",
            "gateway { tls { timeout: 2 } }",
            {"gateway.tls.timeout": ReloadEffect.REFUSED},
        ),
        (
            "websocket { tls { timeout: 1 } }",
            "websocket { tls { timeout: 2 } }",
            {"websocket.tls.timeout": ReloadEffect.IGNORED},
        ),
        (
            "gateway { gateways [{name: w, tls { ca_file: a }}] }",
            "gateway { gateways [{name: w, tls { ca_file: b }}] }",
            {"gateway.gateways[0].tls.ca_file": ReloadEffect.RELOADED},
        ),
        (
            "leafnodes { remotes [{url: a}, {url: b, hub: true}] }",
            "leafnodes { remotes [{url: b, hub: false}, {url: c}] }",
            {
                "leafnodes.remotes[0].hub": ReloadEffect.REFUSED,
                "leafnodes.remotes[1]": ReloadEffect.RELOADED,
                "leafnodes.remotes[0]": ReloadEffect.RELOADED,
            },
        ),
        ("tls { verify: on }", "tls { verify_and_map: on }", {
            "tls.verify": ReloadEffect.RELOADED, "tls.verify_and_map": ReloadEffect.REFUSED}),
        ("tls {}", "", {"tls": ReloadEffect.RELOADED}),
        ("mqtt { tls {} }", "mqtt {}", {"mqtt.tls": ReloadEffect.REFUSED}),
        ("port: 1", "port: 2", {"port": ReloadEffect.REFUSED}),
        ("port: 1", "port: -1", {"port": ReloadEffect.RESTART}),
        ("debug: true", "debug: false", {"debug": ReloadEffect.RELOADED}),
        ("something: 1", "something: 2", {"something": ReloadEffect.REFUSED}),
        ("", "cluster { port: 1 }", {"cluster": ReloadEffect.REFUSED}),
        ("authorization { user: a }", "authorization { user: b }", {
            "authorization.user": ReloadEffect.RELOADED}),
    ],
)  # fmt: skip
def test_the_effect_of_a_change(before: str, after: str, expected: dict[str, ReloadEffect]) -> None:
    """TLS material is reloaded everywhere; what is not known to be reloadable is refused."""
    assert effects(before, after) == expected


def test_spelling_and_layout_are_no_change() -> None:
    """Aliases, case, order, comments and separators mean the same to the server."""
    before = "leaf { net: a, port: 1 }\nmax_conn: 5\nTLS { first: true }"
    after = "tls { handshake_first: true }\nmax_connections = 5\nleafnodes { port: 1, host: a }"
    assert difference(before, after) == ()


def test_a_variable_changes_where_it_is_used() -> None:
    """The definition is no option; the option that it fills is what changes."""
    assert effects("p: 1\nmax_payload: $p", "p: 2\nmax_payload: $p") == {
        "max_payload": ReloadEffect.RELOADED
    }


def test_a_change_is_placed_in_the_file_that_has_it() -> None:
    """What is new or changed stands in the new configuration, what is gone in the old one."""
    found = difference("debug: true\ntrace: true", "\ndebug: false")
    assert [(change.path, str(change.place), change.removed) for change in found] == [
        ("debug", "new.conf:2:1", False),
        ("trace", "old.conf:2:1", True),
    ]
