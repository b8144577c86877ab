"""What a configuration makes of a server: TLS blocks, ports, peers and accounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_config import (
    Config,
    PortKind,
    Position,
    ServerConfig,
    TlsContext,
    parse_text,
    read_server_config,
)
from nats_config.digest import compute_digest
from nats_config.errors import NatsConfigError
from nats_config.server import DEFAULT_HOST

FULL = """
server_name: n1
listen: 127.0.0.1:4333
client_advertise: "n1.example:4333"
http_port: 8222
pid_file: run/nats.pid
jetstream { store_dir: js }
tls { cert_file: c/server.pem, key_file: c/server-key.pem, ca_file: c/ca.pem, verify: true
      handshake_first: auto, pinned_certs: ["%(pin)s"] }
cluster {
  name: east, port: -1, advertise: n1.example
  tls { cert_file: /abs/route.pem, key_file: k.pem, ca_file: ca.pem, timeout: "3s" }
  routes = [nats-route://u:secret@n2.example:6222, "nats://[::1]:6223"]
}
gateway {
  name: east, listen: "0.0.0.0:7222"
  tls { certs: [{cert_file: old.pem, key_file: old-key.pem}
                {cert_file: new.pem, key_file: new-key.pem}], ca_file: ca.pem }
  gateways: [ {name: west, url: "nats://w:7222", tls { ca_file: west-ca.pem, verify: true }}
              {name: north, urls: ["nats://a:1", "nats://b:2"]} ]
}
leafnodes { port: 7422, remotes: [ {urls: ["tls://hub"], account: A, tls { ca_file: hub.pem }} ] }
websocket { port: 8080, tls { cert_file: w.pem, key_file: w-key.pem } }
mqtt { host: 127.0.0.2, port: 1883 }
accounts { $SYS { users: [{user: admin, password: secret}] }, A { users: [{nkey: UABC}] } }
authorization { users: [] }
""" % {"pin": "AB" * 32}  # noqa: UP031 - braces are the language of the text


def no_files(path: str, place: Position) -> bytes:
    """Stand for an empty folder."""
    raise NatsConfigError(f"`{path}` is not there", place=str(place), hint="write it")


def server(text: str) -> ServerConfig:
    """Read a text as the configuration of a server that runs in `/srv`."""
    tree = parse_text(text, place="n.conf", include=no_files, environment={})
    config = Config(path="n.conf", tree=tree, files=("n.conf",), digest=compute_digest(tree))
    return read_server_config(config, cwd="/srv")


def refusal(text: str) -> NatsConfigError:
    """Return the error that a text is refused with."""
    with pytest.raises(NatsConfigError) as caught:
        server(text)
    return caught.value


def codes(text: str) -> dict[str, str]:
    """Return the remarks on a text: code to message."""
    return {remark.code: remark.message for remark in server(text).remarks}


def test_every_listener_is_found() -> None:
    """Hosts, ports and advertised addresses, with the defaults of nats-server."""
    found = {one.port_kind: (one.host, one.port, one.advertise) for one in server(FULL).listeners}
    assert found == {
        PortKind.CLIENT: ("127.0.0.1", 4333, "n1.example:4333"),
        PortKind.CLUSTER: (DEFAULT_HOST, 0, "n1.example"),
        PortKind.GATEWAY: (DEFAULT_HOST, 7222, ""),
        PortKind.LEAFNODES: (DEFAULT_HOST, 7422, ""),
        PortKind.WEBSOCKET: (DEFAULT_HOST, 8080, ""),
        PortKind.MQTT: ("127.0.0.2", 1883, ""),
        PortKind.HTTP: ("127.0.0.1", 8222, ""),
    }


def test_the_client_port_has_a_default() -> None:
    """A server without a word about ports listens for clients on 4222 only."""
    assert [(one.port_kind, one.port) for one in server("debug: true").listeners] == [
        (PortKind.CLIENT, 4222)
    ]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("http: 8222", PortKind.HTTP, (DEFAULT_HOST, 8222)),
        ("monitor_port: 8222\nhost: 10.0.0.1", PortKind.HTTP, ("10.0.0.1", 8222)),
        ("https: '127.0.0.1:8443'", PortKind.HTTPS, ("127.0.0.1", 8443)),
        ("https_port: 8443", PortKind.HTTPS, (DEFAULT_HOST, 8443)),
        ("port: -1", PortKind.CLIENT, (DEFAULT_HOST, 0)),
        ("net: '::1'", PortKind.CLIENT, ("::1", 4222)),
        ("cluster { listen: '[::1]:6222' }", PortKind.CLUSTER, ("::1", 6222)),
    ],
)
def test_ports_are_read_in_every_form(text: str, kind: PortKind, expected: tuple[str, int]) -> None:
    """Aliases, `listen`, IPv6 in brackets, and any free port as 0."""
    found = server(text).listener(kind)
    assert found is not None
    assert (found.host, found.port) == expected


def test_every_tls_block_is_found_with_its_context() -> None:
    """Blocks of remotes are told apart by name or index."""
    assert [(block.context, block.remote) for block in server(FULL).tls] == [
        (TlsContext.TOP, ""),
        (TlsContext.CLUSTER, ""),
        (TlsContext.GATEWAY, ""),
        (TlsContext.WEBSOCKET, ""),
        (TlsContext.GATEWAY_REMOTE, "west"),
        (TlsContext.LEAF_REMOTE, "0"),
    ]


def test_paths_are_resolved_against_the_process() -> None:
    """nats-server takes certificate paths relative to its directory, not to the file's."""
    found = server(FULL)
    top, cluster = found.block(TlsContext.TOP), found.block(TlsContext.CLUSTER)
    assert top is not None
    assert cluster is not None
    assert [file.path for file in top.files] == [
        "/srv/c/server.pem",
        "/srv/c/server-key.pem",
        "/srv/c/ca.pem",
    ]
    assert cluster.certificates[0].cert_file.path == "/abs/route.pem"
    assert (found.pid_file, found.store_dir) == ("/srv/run/nats.pid", "/srv/js")


def test_options_carry_values_and_places() -> None:
    """Durations in seconds, pins in lower case, and where each option stands."""
    found = server(FULL)
    top, cluster = found.block(TlsContext.TOP), found.block(TlsContext.CLUSTER)
    assert top is not None
    assert cluster is not None
    assert (top.handshake_first, top.handshake_first_fallback_seconds) == (True, 0.05)
    assert top.pinned_certs == ("ab" * 32,)
    assert cluster.timeout_seconds == 3.0
    assert top.places["handshake_first"] == Position("n.conf", 9, 7)


def test_certs_are_kept_in_their_order() -> None:
    """The first entry of `certs` is the one that the server presents."""
    block = server(FULL).block(TlsContext.GATEWAY)
    assert block is not None
    assert block.listed
    assert [Path(pair.cert_file.path).name for pair in block.certificates] == ["old.pem", "new.pem"]


@pytest.mark.parametrize(
    ("text", "context", "demanded"),
    [
        ("tls { ca_file: a }", TlsContext.TOP, False),
        ("tls { ca_file: a, verify: on }", TlsContext.TOP, True),
        ("tls { ca_file: a, verify_and_map: on }", TlsContext.TOP, True),
        ("cluster { tls { ca_file: a, verify: false } }", TlsContext.CLUSTER, True),
        ("gateway { tls { ca_file: a } }", TlsContext.GATEWAY, True),
        ("leafnodes { tls { ca_file: a } }", TlsContext.LEAFNODES, False),
    ],
)
def test_who_must_present_a_certificate(text: str, context: TlsContext, *, demanded: bool) -> None:
    """Routes and gateways always verify; the others do when they are told to."""
    block = server(text).block(context)
    assert block is not None
    assert block.demands_certificate is demanded


def test_a_dialer_demands_no_certificate() -> None:
    """`verify` in a remote has no effect, and is remarked."""
    found = server("gateway { gateways [{name: w, tls { verify: true, ca_file: a }}] }")
    block = found.block(TlsContext.GATEWAY_REMOTE, remote="w")
    assert block is not None
    assert not block.demands_certificate
    assert "ignored-option" in {remark.code for remark in found.remarks}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("cluster { tls { verify: false } }", "ignored-option", "always on"),
        ("websocket { tls { timeout: 3 } }", "ignored-option", "websocket.tls.timeout"),
        ("tls { insecure: true }", "ignored-option", "tls.insecure"),
        ("tls { ca_file: a }", "unverified", "without `verify`"),
        ("tls { verify: true }", "unverified", "every public CA"),
        ("host: a\nHOST: b", "same-field-twice", "at random"),
        ("listen: 'a:1'\nport: 2", "same-field-twice", "at random"),
        ("prot: 4222", "unknown-field", "`prot`"),
        ("cluster { nmae: c }", "unknown-field", "`cluster.nmae`"),
        ("cluster { routes: [localhost] }", "not-a-url", "cluster.routes"),
    ],
)
def test_what_has_no_effect_is_remarked(text: str, code: str, said: str) -> None:
    """Options that nats-server reads and ignores, and traps in what it accepts."""
    assert said in codes(text).get(code, "")


def test_a_definition_is_no_unknown_field() -> None:
    """A name that only defines a variable is not remarked."""
    assert codes("p: 4222\nport: $p") == {}


def test_routes_and_remotes_are_typed_without_passwords() -> None:
    """Who is dialled, as which user; passwords are in no typed value and no repr."""
    found = server(FULL)
    assert [(url.user, url.host, url.port) for url in found.routes] == [
        ("u", "n2.example", 6222),
        ("", "::1", 6223),
    ]
    assert [(remote.name, len(remote.urls)) for remote in found.gateways] == [
        ("west", 1),
        ("north", 2),
    ]
    assert [(url.host, url.port) for url in found.leaf_remotes[0].urls] == [("hub", 7422)]
    assert "secret" not in repr(found)


def test_the_system_account_and_its_users_are_known() -> None:
    """A reload over NATS needs a user of the system account."""
    accounts = server(FULL).accounts
    assert accounts.system_account == "$SYS"
    assert [(user.name, user.has_password) for user in accounts.system_users] == [("admin", True)]
    assert server("no_system_account: true").accounts.system_account == ""
    assert server("accounts [S]\nsystem_account: S").accounts.system_account == "S"


def test_names_and_storage_are_known() -> None:
    """What a server is called, and whether it stores streams."""
    found = server(FULL)
    assert (found.server_name, found.cluster_name, found.gateway_name) == ("n1", "east", "east")
    assert found.jetstream
    assert not server("jetstream: disabled").jetstream
    assert not server("jetstream { enabled: false }").jetstream


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("port: '4222'", "n.conf:1:7", "expected an integer, found a string"),
        ("port: 70000", "n.conf:1:7", "65535"),
        ("cluster { tls { ca_flie: a } }", "n.conf:1:17", "unknown field"),
        ("tls { verify: 'yes' }", "n.conf:1:15", "`true` or `false`"),
        ("tls { cert_file: a }", "n.conf:1:7", "`key_file` is missing"),
        ("tls { timeout: true }", "n.conf:1:16", "seconds"),
        ("leafnodes { remotes: [7 ] }", "n.conf:1:23", "expected a map, found an integer"),
        ("cluster { routes: [7 ] }", "n.conf:1:20", "expected a string"),
        ("cluster { routes: ['nats://a:x'] }", "n.conf:1:20", "not a URL"),
        ("listen: localhost", "n.conf:1:9", "host:port"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(text: str, place: str, said: str) -> None:
    """The error points at the value, says what was expected, and how to write it."""
    error = refusal(text)
    assert error.place == place
    assert said in error.message
    assert error.hint


def test_a_near_miss_is_named() -> None:
    """A misspelt option of a `tls` block is answered with the right one."""
    assert "`ca_file`" in refusal("tls { ca_flie: a }").hint
