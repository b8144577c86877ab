"""Writes the configuration of a lab's nats-server."""

from __future__ import annotations

import json
from typing import NamedTuple

from rollover.lab.layout import Layout, MaterialPaths
from rollover.lab.ports import LOOPBACK
from rollover.lab.spec import LabSpec

SYSTEM_USER = "system"
APPLICATION_ACCOUNT = "APP"
TLS_TIMEOUT_SECONDS = 5
"""The server's own default, 2 s, is too short when many clients come back at once on few cores."""


class ServerPorts(NamedTuple):
    """Where one server listens."""

    client: int
    route: int
    monitor: int


def address(port: int) -> str:
    """Return `host:port` of a lab's port."""
    return f"{LOOPBACK}:{port}"


def server_config(
    layout: Layout,
    spec: LabSpec,
    name: str,
    *,
    ports: dict[str, ServerPorts],
    system_password: str,
) -> str:
    """Return the configuration of server `name`; it may hold the password, so keep it 0600.

    Paths are absolute: they mean the same from every working directory.
    """
    own = ports[name]
    blocks = [
        f"server_name: {name}",
        f"listen: {_text(address(own.client))}",
        f"pid_file: {_text(layout.pid_file(name))}",
        f"log_file: {_text(layout.log(name))}",
        _tls(layout.client_port(name), verify=True),
        _accounts(spec, system_password),
    ]
    if spec.monitoring:
        blocks.insert(2, f"http: {_text(address(own.monitor))}")
    if spec.clusters[0].jetstream:
        blocks.append(f"jetstream {{\n  store_dir: {_text(layout.server(name) / 'jetstream')}\n}}")
    if len(ports) > 1:
        blocks.append(_cluster(layout, spec, name, ports=ports))
    return "\n".join(blocks) + "\n"


def _cluster(layout: Layout, spec: LabSpec, name: str, *, ports: dict[str, ServerPorts]) -> str:
    files = layout.route_port(name, separate=spec.certificates.separate_files)
    routes = "\n".join(
        f"    {_text(f'nats-route://{address(each.route)}')}"
        for peer, each in ports.items()
        if peer != name
    )
    return (
        f"cluster {{\n  name: {spec.clusters[0].name}\n"
        f"  listen: {_text(address(ports[name].route))}\n"
        f"  {_tls(files, verify=False, indent='  ')}\n"
        f"  routes: [\n{routes}\n  ]\n}}"
    )


def _tls(files: MaterialPaths, *, verify: bool, indent: str = "") -> str:
    """Return a `tls` block. Routes verify in any case: there the word would say nothing."""
    lines = [
        f"cert_file: {_text(files.certificate)}",
        f"key_file: {_text(files.key)}",
        f"ca_file: {_text(files.ca)}",
        *(["verify: true"] if verify else []),
        f"timeout: {TLS_TIMEOUT_SECONDS}",
    ]
    return "tls {\n" + "\n".join(f"{indent}  {line}" for line in lines) + f"\n{indent}}}"


def _accounts(spec: LabSpec, system_password: str) -> str:
    jetstream = "jetstream: enabled, " if spec.clusters[0].jetstream else ""
    system = (
        f"  SYS {{ users: [ {{ user: {SYSTEM_USER}, password: {_text(system_password)} }} ] }}\n"
        if spec.system_account
        else ""
    )
    named = "system_account: SYS\n" if spec.system_account else ""
    return (
        f"accounts {{\n{system}"
        f"  {APPLICATION_ACCOUNT} {{ {jetstream}users: [ {{ user: app, password: app }} ] }}\n}}\n"
        f"{named}no_auth_user: app"
    )


def _text(value: object) -> str:
    """Return a quoted string of the configuration language; it shares JSON's escapes here."""
    return json.dumps(str(value), ensure_ascii=False)
