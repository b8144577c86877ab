"""What to put into nats.conf (or to give a client) so that a certificate serves its role."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from rollover.issuing.files import Pair
from rollover.issuing.roles import Role


class Material(NamedTuple):
    """The files that a configuration names, and the user that a client shall be."""

    pair: Pair
    ca: Path
    user: str = ""


def nats_conf(role: Role, material: Material) -> str:
    """Return the part of a configuration that uses the files, as nats-server reads it."""
    match role:
        case Role.SERVER:
            return f"{_tls(material)}\n{_VERIFY.format(ca=_text(material.ca))}\n"
        case Role.MONITORING:
            return f"https_port: 8222\n{_tls(material)}\n{_MONITORING}\n"
        case Role.CLIENT:
            return _for_client(material)
        case Role.ROUTE:
            return f"cluster {{\n{_indented(_tls(material, verify=True))}\n}}\n{_ROUTE}\n"
        case Role.GATEWAY:
            return f"gateway {{\n{_indented(_tls(material, verify=True))}\n}}\n{_GATEWAY}\n"
        case Role.LEAF:
            return _for_leaf(material)


_VERIFY = "# To demand certificates of clients, inside tls: ca_file: {ca}, verify: true"
_MONITORING = (
    "# The monitoring port has no block of its own: client ports use the same certificate."
)
_ROUTE = "# Every `routes` URL must name a host that the certificate of that server names."
_GATEWAY = "# Every URL in `gateways` must name a host that the certificate of that server names."


def _tls(material: Material, *, verify: bool = False) -> str:
    lines = [
        "tls {",
        f"  cert_file: {_text(material.pair.certificate)}",
        f"  key_file: {_text(material.pair.key)}",
    ]
    if verify:
        lines += [f"  ca_file: {_text(material.ca)}", "  verify: true"]
    return "\n".join([*lines, "}"])


def _for_client(material: Material) -> str:
    option = "verify_and_map" if material.user else "verify"
    lines = [
        "tls {",
        "  # cert_file and key_file of the server stay as they are",
        f"  ca_file: {_text(material.ca)}",
        f"  {option}: true",
        "}",
    ]
    if material.user:
        lines.append(f"authorization {{ users: [ {{ user: {_text(material.user)} }} ] }}")
    return "\n".join(lines) + "\n"


def _for_leaf(material: Material) -> str:
    files = _tls(material, verify=True)
    dialling = "\n".join(line for line in files.splitlines() if "verify" not in line)
    remote = f'remotes: [ {{\n  url: "tls://HUB:7422"\n{_indented(dialling)}\n}} ]'
    return (
        f"# where leaf nodes are accepted\nleafnodes {{\n  port: 7422\n{_indented(files)}\n}}\n"
        f"# or where one dials\nleafnodes {{\n{_indented(remote)}\n}}\n"
    )


def client_command(material: Material) -> str:
    """Return the options with which the `nats` tool presents a client's certificate."""
    pair = material.pair
    files = {"--tlscert": pair.certificate, "--tlskey": pair.key, "--tlsca": material.ca}
    return " ".join(["nats", *(f"{name} {shlex.quote(str(path))}" for name, path in files.items())])


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _text(value: str | Path) -> str:
    """Return a quoted string of nats.conf, with its escapes (conf/lex.go, lexStringEscape)."""
    return '"' + "".join(_escaped(letter) for letter in str(value)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return f"\\x{ord(letter):02x}" if letter < " " else letter
