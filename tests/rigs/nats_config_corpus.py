"""Small nats-server configurations of our own, each with what nats-server makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """How nats-server and the reader judge a configuration."""

    VALID = "both accept it, with one digest"
    SYNTAX = "both refuse to parse it"
    TYPED = "it parses, and both refuse what it says"
    BEYOND = "nats-server -t refuses a meaning that the reader does not judge"


class Case(NamedTuple):
    """One configuration with what surrounds it."""

    name: str
    verdict: Verdict
    text: str | bytes
    files: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}

    @property
    def content(self) -> bytes:
        """The text as the file holds it."""
        return self.text if isinstance(self.text, bytes) else self.text.encode()


def using(value: str | bytes) -> bytes:
    """Put any value into a configuration that nats-server accepts: a variable may hold it."""
    content = value if isinstance(value, bytes) else value.encode()
    return b"v: " + content + b"\nport: $v\nport: 4222\n"


VALUES: Mapping[str, str | bytes] = {
    "plain": "word",
    "path": "/etc/a#b",
    "single quotes": "'a\\b, {c} # d'",
    "double quotes": '"tab\\t nl\\n cr\\r quote\\" backslash\\\\ hex\\x41"',
    "escaped UTF-8": '"\\xc3\\xa9"',
    "escaped byte that is no UTF-8": '"\\xff"',
    "raw byte that is no UTF-8": b"'\xff\xfe'",
    "HTML characters": "'<a href=\"b\">&</a>'",
    "line separators": "'\u2028\u2029\u0085'",
    "control characters": b"'\x01\x1f\x7f\x0c\x0b'",
    "escape in bare text": "C:\\\\nats",
    "bare text ended by a quote": "abc'",
    "number that becomes text": "12ab",
    "backslash that makes a number text": "1\\n",
    "integer": "42",
    "negative integer": "-7",
    "leading zeros": "0007",
    "largest integer": "9223372036854775807",
    "overflow of a unit": "9223372036854775807k",
    "decimal units": "[1k, 2m, 3g, 4t, 5p, 6e ]",
    "binary units": "[1kb, 1ki, 1kib, 1MB, 1Gi, 1TiB, 1pb, 1eb ]",
    "unit that has no size": "[1, 2kbb, 3 ]",
    "unit in the middle of text": "1m30s",
    "float": "0.5",
    "whole float": "1.0",
    "negative zero": "-0.0",
    "tiny float": "0.0000001",
    "smallest plain float": "0.000001",
    "large float": "123456789012345678901234.5",
    "largest plain float": "123456789012345678901.5",
    "address": "127.0.0.1:4222",
    "version": "1.2.3",
    "date": "2026-02-28T23:59:59Z",
    "leap day of year 0": "0000-02-29T00:00:00Z",
    "booleans": "[true, FALSE, yes, No, on, OFF]",
    "quoted boolean": "'true'",
    "duration": "10s",
    "block": "(\nfirst { # no comment\n  second\n)",
    "block with parentheses": "(\n(a)\n b )\n)",
    "bcrypt": "$2a$11$ABCDEFGHIJKLMNOPQRSTUV",
    "empty map": "{}",
    "empty array": "[]",
    "nested": "{a {b [ {c: 1}, [x, [y]] ]}}",
    "array on lines": "[\n 1\n 2 # two\n // three\n 3\n]",
    "array with a trailing comma": "[a, b,]",
    "map without line ends": "{a: 1, b=2; c 3}",
    "map with values on the next line": "{a:\n1\nb\n= 2}",
    "slash before a key": "{/a: 1}",
    "slash before a space": "{/ a: 1}",
    "quoted keys": "{'a b': 1, \"c=d\": 2}",
    "sorted by bytes": "{b: 1, B: 2, é: 3, 10: 4}",
    "duplicate keys": "{a: 1, b: 2, a: 3}",
}
"""Values in all their forms."""

VALID: Mapping[str, str | bytes] = {
    "separators": "port: 4222\nhost = localhost\ndebug true",
    "semicolons and commas": "port: 4222; debug: true, trace: false",
    "comments": "# one\n// two\nport: 4222 # three\ndebug: off // four\n",
    "block at the end": "port: 4222\nhost: (\nx\n)",
    "carriage returns": "port: 4222\r\ncluster {\r\n name: c\r\n}\r\n",
    "no final newline": "port: 4222",
    "slash after a value": "port: 4222 /\n",
    "JSON": '{"port": 4222, "cluster": {"name": "c", "routes": []}}',
    "JSON with a stray brace": '{"port": 4222}\n}\n',
    "blocks in blocks": "{ port: 4222\n { debug: true }, trace: true }",
    "block left open": "{ port: 4222\n",
    "text that ends in a quote": 'port: 4222\n"',
    "array cut off by the end": "port: 4222\nroutes = ['",
    "case of names": "PORT: 4222\nCluster { NAME: c }",
    "map on the next line": "cluster\n{\n name: c\n}",
    "spaces of Unicode": "port\u2003:\u00a04222\n".replace("\u00a0", " "),
    "variable": "p: 4222\nport: $p",
    "variable from an outer map": "n: hub\ncluster { name: $n }",
    "variable of an inner map": "n: hub\nserver_name: $n\ncluster { n: edge, name: $n }",
    "variable of a variable": "a: 4222\nb: $a\nport: $b",
    "account user with bcrypt": "accounts { A { users = [{user: u, password: $2a$11$abc}] } }",
    "system users": "accounts { $SYS { users = [{user: s, password: p}] } }",
    "list of accounts": "accounts: [A, B]\nsystem_account: A",
    "gateway": "gateway { name: A, port: 7222, gateways: [{name: B, urls: ['nats://b:7222']}] }",
    "leaf": "leafnodes { port: 7422\n remotes = [{url: 'nats-leaf://u:p@hub'}] }",
    "monitoring": "http: 127.0.0.1:8222\nhttps_port: 8443",
    "listen forms": "listen: 127.0.0.1:4222\ncluster { listen: '[::1]:6222', name: c }",
    "routes": "cluster { port: 6222, routes: ['nats-route://u:p@a:6222', 'nats://b:6222'] }",
    "jetstream": "jetstream { store_dir: '/var/js', max_mem: 1GB }",
    "tls": "tls { cert_file: 'server.pem', key_file: server-key.pem, ca_file: ca.pem, verify: on }",
    "tls list": "tls { certs: [{cert_file: server.pem, key_file: server-key.pem}], timeout: 2.5 }",
    "tls with an empty list": "tls { certs: [], cert_file: server.pem, key_file: server-key.pem }",
    "tls everywhere": """
        tls { cert_file: server.pem, key_file: server-key.pem, handshake_first: 300ms }
        cluster { name: c
                  tls { cert_file: server.pem, key_file: server-key.pem, ca_file: ca.pem } }
        gateway { name: c
                  tls { cert_file: server.pem, key_file: server-key.pem, ca_file: ca.pem }
                  gateways [ {name: d, url: nats://d:7222, tls { ca_file: ca.pem }} ] }
        leafnodes { tls { cert_file: server.pem, key_file: server-key.pem }
                    remotes [ {url: tls://hub, tls { ca_file: ca.pem }} ] }
        websocket { port: 8080, tls { cert_file: server.pem, key_file: server-key.pem } }
        mqtt { port: 1883, tls { cert_file: server.pem, key_file: server-key.pem, timeout: "3s" } }
        """,
    "pinned": f"tls {{ ca_file: ca.pem, pinned_certs: ['{'A' * 64}'] }}",
    "invalid UTF-8 in a comment": b"port: 4222 # \xff\xfe\n",
}

SYNTAX: Mapping[str, str | bytes] = {
    "separator without key": "= 4222",
    "value on the next line": "port:\n4222",
    "key without value": "port",
    "two pairs on a line": "port: 4222 debug: true",
    "map left open": "cluster { name: c",
    "array left open": "routes: [a, b",
    "number before a bracket": "v: [1]",
    "comma first in an array": "v: [,a]",
    "two commas in an array": "v: [a,,b]",
    "bracket in a map": "cluster { ] }",
    "separator first in a map": "cluster { = 1 }",
    "comma for a value": "cluster { name: , }",
    "quote left open": "host: 'a",
    "double quote left open": 'host: "a',
    "quoted key left open": "'port: 4222",
    "unknown escape": 'host: "\\q"',
    "escape with one digit": 'host: "\\x4"',
    "escape of a Windows path": "store_dir: C:\\nats\\js",
    "float that begins with a dot": "v: .5",
    "float that ends with a dot": "v: 5.",
    "name that begins with a number": "v: 1.example.com",
    "lonely minus": "v: -a",
    "short date": "v: 2026-01-01",
    "date with an offset": "v: 2026-01-01T00:00:00+01:00",
    "impossible date": "v: 2026-02-30T00:00:00Z",
    "pin without quotes": f"tls {{ pinned_certs: [{'1' * 64} ] }}",
    "integer too large": "v: 9223372036854775808",
    "digits of another script": "v: \u0663",
    "slash as a comment": "/ port: 4222",
    "block comment": "/* port */",
    "block string with CR LF": "v: (\r\na\r\n)\r\n",
    "block string left open": "v: (\na )",
    "unknown variable": "port: $nowhere",
    "variable before its definition": "port: $p\np: 4222",
    "variable inside text": "store_dir: $dir/js",
    "bcrypt of another kind": "v: $2y$11$abc",
    "include of nothing": "include ./missing.conf",
    "include of an array": "include [a]",
    "include without a name": "include \n",
    "include of a folder": "include .",
    "NUL": b"port: 4222\n\x00",
    "unclosed block of braces": "{ port: 4222",
}

TYPED: Mapping[str, str | bytes] = {
    "port as text": "port: '4222'",
    "port as a boolean": "port: true",
    "host as a number": "host: 1",
    "cluster as text": "cluster: c",
    "routes as text": "cluster { routes: 'nats://a:6222' }",
    "route as a number": "cluster { routes: [6222 ] }",
    "listen without a port": "listen: localhost",
    "listen as an array": "listen: [1 ]",
    "tls as text": "tls: yes",
    "quoted boolean in tls": "tls { verify: 'true' }",
    "unknown field in tls": "tls { ca_flie: ca.pem }",
    "variable in tls": "tls { f: ca.pem, ca_file: $f }",
    "certificate without key": "tls { cert_file: server.pem }",
    "key without certificate": "tls { key_file: server-key.pem }",
    "file as a number": "tls { ca_file: 1 }",
    "pin too short": "tls { pinned_certs: ['ab'] }",
    "minimum version as a float": "tls { min_version: 1.3 }",
    "old minimum version": "tls { min_version: '1.1' }",
    "empty ciphers": "tls { cipher_suites: [] }",
    "timeout as a boolean": "tls { timeout: true }",
    "timeout without a unit": "tls { timeout: '2' }",
    "handshake first as a word": "tls { handshake_first: soon }",
    "known URLs for clients": "tls { verify_cert_and_check_known_urls: true }",
    "both kinds of certificates": "tls { cert_file: server.pem, key_file: server-key.pem, "
    "certs: [{cert_file: server.pem, key_file: server-key.pem}] }",
    "certs with case": "tls { certs: [{CERT_FILE: server.pem, key_file: server-key.pem}] }",
    "certs without a key": "tls { certs: [{cert_file: server.pem}] }",
    "certificate store": "tls { cert_store: WindowsCurrentUser }",
    "users as a map": "authorization { users { user: a } }",
    "remotes as a map": "leafnodes { remotes { url: nats://a } }",
    "gateways of texts": "gateway { name: A, gateways: [B] }",
    "jetstream as a word": "jetstream: maybe",
}

BEYOND: Mapping[str, str | bytes] = {
    "nothing": "",
    "comment only": "# nothing\n",
    "byte order mark": b"\xef\xbb\xbfport: 4222\n",
    "unknown field": "prot: 4222",
    "key that lends its name": "cluster { name }",
    "include with a colon": "include: './other.conf'",
    "duration as a number": "ping_interval: 10",
    "missing certificate": "tls { cert_file: none.pem, key_file: none.pem }",
    "unknown cipher": "tls { cipher_suites: [ROT13] }",
}

INCLUDED = (
    Case("include", Verdict.VALID, "include ./b.conf\nport: 4222", {"b.conf": "debug: true"}),
    Case("quoted include", Verdict.VALID, "include 'b.conf';debug: true", {"b.conf": "port: 4222"}),
    Case(
        "include in a map",
        Verdict.VALID,
        "cluster { include c.conf\n port: 6222 }",
        {"c.conf": "name: c\n# end"},
    ),
    Case(
        "include in tls",
        Verdict.VALID,
        "tls { include t.conf }",
        {"t.conf": "cert_file: server.pem\nkey_file: server-key.pem"},
    ),
    Case(
        "include relative to its file",
        Verdict.VALID,
        "include d/a.conf",
        {"d/a.conf": "include b.conf", "d/b.conf": "port: 4222"},
    ),
    Case("absolute include", Verdict.VALID, "include /b.conf", {"b.conf": "port: 4222"}),
    Case("include replaces", Verdict.VALID, "port: 1\ninclude b.conf", {"b.conf": "port: 4222"}),
    Case("variable from an include", Verdict.VALID, "include b\nport: $p", {"b": "p: 4222"}),
    Case("variable into an include", Verdict.SYNTAX, "p: 4222\ninclude b", {"b": "port: $p"}),
    Case("error in an include", Verdict.SYNTAX, "include b.conf", {"b.conf": "port:\n"}),
    Case("empty include", Verdict.VALID, "include b.conf\nport: 4222", {"b.conf": ""}),
)

FROM_ENVIRONMENT = (
    Case("port", Verdict.VALID, "port: $NC_PORT", {}, {"NC_PORT": "4222"}),
    Case("text", Verdict.VALID, "host: $NC_HOST", {}, {"NC_HOST": "'local host'"}),
    Case("map", Verdict.VALID, "cluster: $NC_MAP", {}, {"NC_MAP": "{name: c, routes: []}"}),
    Case("empty text", Verdict.VALID, "host: $NC_E", {}, {"NC_E": ""}),
    Case("chain", Verdict.VALID, "port: $NC_A", {}, {"NC_A": "$NC_B", "NC_B": "4222"}),
    Case("definition first", Verdict.VALID, "P: 4222\nport: $P", {}, {"P": "1"}),
    Case("cycle", Verdict.SYNTAX, "port: $NC_A", {}, {"NC_A": "$NC_B", "NC_B": "$NC_A"}),
    Case("no value", Verdict.SYNTAX, "port: $NC_A", {}, {"NC_A": "1kbb"}),
    Case("two words", Verdict.SYNTAX, "host: $NC_A", {}, {"NC_A": "local host"}),
    Case("wrong type", Verdict.TYPED, "port: $NC_A", {}, {"NC_A": "'4222'"}),
)

CASES: tuple[Case, ...] = (
    *(Case(f"value: {name}", Verdict.VALID, using(value)) for name, value in VALUES.items()),
    *(Case(name, Verdict.VALID, text) for name, text in VALID.items()),
    *(Case(name, Verdict.SYNTAX, text) for name, text in SYNTAX.items()),
    *(Case(name, Verdict.TYPED, text) for name, text in TYPED.items()),
    *(Case(name, Verdict.BEYOND, text) for name, text in BEYOND.items()),
    *INCLUDED,
    *(case._replace(name=f"environment: {case.name}") for case in FROM_ENVIRONMENT),
)
