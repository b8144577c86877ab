"""Configurations of NATS servers with their files, in a few words, for the rules of `check`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from nats_config.systemd_unit import read_unit
from rigs.pki_forge import CA, DAY, INTERMEDIATE, LEAF, NOW, Forged, Shape, forge
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.rules.context import ConfigContext
from rollover.platforms.nats.rules.reading import read_context
from rollover.platforms.nats.rules.report import check_configs
from rollover.rules.rule import Finding

__all__ = ("CA", "DAY", "INTERMEDIATE", "LEAF", "NOW", "Desk", "Tls", "named")

MEMBERS = ("top", "cluster", "gateway", "leafnodes", "websocket", "mqtt")
PORTS = {"top": 4222, "cluster": 6222, "gateway": 7222, "leafnodes": 7422} | {
    "websocket": 8443,
    "mqtt": 8883,
}


def named(*names: str) -> tuple[x509.GeneralName, ...]:
    """Return names of a certificate: IP addresses where they look like one."""
    return tuple(
        x509.IPAddress(ip_address(name)) if name[:1].isdigit() else x509.DNSName(name)
        for name in names
    )


class Tls(NamedTuple):
    """One `tls` block: what it presents, what it trusts, and what else is written in it."""

    chain: tuple[Forged, ...] = ()
    trust: tuple[Forged, ...] = ()
    more: str = ""
    pem: bytes | None = None
    """The certificate file in place of that of `chain`."""
    ca: bytes | None = None
    """The CA file in place of that of `trust`."""
    key: bytes | None = None
    mode: int = 0o600


class Desk:
    """A folder on which configurations are made; everything in it is of one instant."""

    def __init__(self, folder: Path, *, now: datetime = NOW) -> None:
        self.folder = folder
        self.now = now
        self.root = self.authority("Acme Root")
        self.configs: list[Path] = []
        self.running: dict[Path, Path] = {}
        self.clients: list[Path] = []
        self.units: list[Path] = []

    def authority(self, name: str, shape: Shape = CA, *, by: Forged | None = None) -> Forged:
        """Return a CA."""
        if by is not None and shape is CA:
            shape = INTERMEDIATE
        return forge(name, shape._replace(days=_longer(shape.days)), by=by, now=self.now)

    def leaf(
        self,
        *names: str,
        by: Forged | None = None,
        subject: str = "n1",
        shape: Shape = LEAF,
    ) -> Forged:
        """Return a leaf of the root, or of `by`, for names and addresses."""
        covered = named(*(names or ("n1.example", "127.0.0.1")))
        return forge(subject, shape._replace(names=covered), by=by or self.root, now=self.now)

    def write(self, name: str, content: bytes | str, *, mode: int = 0o600) -> Path:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def tls(self, label: str, block: Tls) -> str:
        """Write the files of a block and return its text."""
        said: list[str] = []
        if block.chain or block.pem is not None:
            chain = write_certificates([pair.certificate for pair in block.chain])
            cert = self.write(f"{label}.pem", chain if block.pem is None else block.pem)
            key = self.write(
                f"{label}.key",
                block.chain[0].key_pem() if block.key is None else block.key,
                mode=block.mode,
            )
            said += [f"cert_file: '{cert}'", f"key_file: '{key}'"]
        if block.trust or block.ca is not None:
            trust = write_certificates([pair.certificate for pair in block.trust])
            ca = self.write(f"{label}-ca.pem", trust if block.ca is None else block.ca)
            said.append(f"ca_file: '{ca}'")
        lines = "\n    ".join((*said, *block.more.splitlines()))
        return f"tls {{\n    {lines}\n  }}"

    def server(
        self, name: str = "n1", *, more: str = "", inside: Mapping[str, str] = {}, **blocks: Tls
    ) -> Path:
        """Write the configuration of a server with these blocks; `inside`: more of a section."""
        return self.with_blocks(name, blocks, more=more, inside=inside)

    def with_blocks(
        self, name: str, blocks: Mapping[str, Tls], *, more: str = "", inside: Mapping[str, str]
    ) -> Path:
        """Write the configuration of a server whose blocks are known by their names only."""
        said = [f"server_name: {name}", more]
        if "listen:" not in more:
            said.append("port: 4222" if "top" in blocks else "listen: '127.0.0.1:4222'")
        for member in MEMBERS:
            if member in blocks:
                block = self.tls(f"{name}-{member}", blocks[member])
                said.append(block if member == "top" else self._section(member, block, inside))
            elif member in inside:
                said.append(self._section(member, "", inside))
        path = self.write(f"{name}.conf", "\n".join(said) + "\n")
        self.configs.append(path)
        return path

    @staticmethod
    def _section(member: str, block: str, inside: Mapping[str, str]) -> str:
        more = inside.get(member, "")
        port = "" if "port:" in more or "listen:" in more else f"port: {PORTS[member]}"
        return f"{member} {{\n  {port}\n  {more}\n  {block}\n}}"

    def raw(self, name: str, text: str) -> Path:
        """Write a configuration as it stands."""
        path = self.write(f"{name}.conf", text)
        self.configs.append(path)
        return path

    def loaded(self, config: Path, text: str) -> None:
        """Say what a server has loaded in place of what its file now says."""
        self.running[config] = self.write(f"{config.stem}.before", text)

    def client(self, name: str, leaf: Forged) -> None:
        """Give the certificate of a client."""
        self.clients.append(
            self.write(f"{name}-client.pem", write_certificates((leaf.certificate,)))
        )

    def scene(self) -> ConfigContext:
        """Read everything back."""
        return read_context(
            self.configs,
            working_directory=self.folder,
            environment=os.environ,
            now=self.now,
            running=self.running,
            clients=self.clients,
            started=tuple(
                line for path in self.units for line in read_unit(path.read_text(), name=str(path))
            ),
        )

    def findings(self, rule: str = "") -> list[Finding]:
        """Return what the rules find, or one of them."""
        report = check_configs(self.scene())
        return [
            finding
            for checked in report.checked
            for finding in checked.findings
            if rule in ("", finding.rule)
        ]

    def gateways(self, sides: Mapping[str, Tls], *, more: str = "") -> None:
        """Write one server for each gateway, all of which know each other by name."""
        for at, (name, block) in enumerate(sides.items()):
            remotes = ", ".join(
                f"{{name: {other}, url: 'nats://{other}.example:{7222 + there}'}}"
                for there, other in enumerate(sides)
            )
            inside = (
                f"name: {name}\n  listen: '{name}.example:{7222 + at}'\n  gateways: [{remotes}]"
            )
            self.server(name, more=more, inside={"gateway": inside}, gateway=block)

    def routes(self, sides: Mapping[str, Tls]) -> None:
        """Write one server for each node of a cluster."""
        for name, block in sides.items():
            urls = ", ".join(
                f"'nats-route://{other}.example:6222'" for other in sides if other != name
            )
            inside = f"name: c\n  listen: '{name}.example:6222'\n  routes: [{urls}]"
            self.server(name, inside={"cluster": inside}, cluster=block)


def _longer(days: tuple[float, float]) -> tuple[float, float]:
    return (-30, 3650) if days == Shape().days else days


def joined(certificates: Sequence[Forged]) -> Iterator[bytes]:
    """Yield the PEM of each certificate without the newline at its end."""
    for certificate in certificates:
        yield write_certificates((certificate.certificate,)).rstrip(b"\n")
