"""Where everything of a lab of nats-servers is, inside its directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rollover.store import state_files
from rollover_lab.state import LabDirectory


class MaterialPaths(NamedTuple):
    """The three PEM files of one TLS party."""

    certificate: Path
    key: Path
    ca: Path


class NatsLayout(NamedTuple):
    """The paths below the directory of a lab of nats-servers."""

    root: Path

    @property
    def lab(self) -> LabDirectory:
        """What every lab has."""
        return LabDirectory(self.root)

    @property
    def fleet(self) -> Path:
        """The description that Rollover reads."""
        return self.root / "fleet.yml"

    @property
    def state(self) -> Path:
        """Rollover's own directory: store, journal, sealing key."""
        return self.root / ".rollover"

    @property
    def credentials(self) -> Path:
        """The credential store."""
        return self.state / state_files.CREDENTIALS

    @property
    def sealing_key(self) -> Path:
        """The key of the credential store."""
        return self.state / state_files.SEALING_KEY

    @property
    def system_password(self) -> Path:
        """The password of the system account's user."""
        return self.root / "system.password"

    @property
    def traffic_spec(self) -> Path:
        """What the traffic process is told."""
        return self.root / "traffic.json"

    @property
    def traffic_report(self) -> Path:
        """What the traffic process counts."""
        return self.root / "traffic-report.json"

    @property
    def traffic_log(self) -> Path:
        """What the traffic process says."""
        return self.root / "traffic.log"

    @property
    def clients(self) -> Path:
        """The directory of all clients."""
        return self.root / "clients"

    def server(self, name: str) -> Path:
        """Return a server's working directory."""
        return self.root / name

    def client(self, name: str) -> Path:
        """Return a client's directory."""
        return self.clients / name

    def config(self, server: str) -> Path:
        """Return a server's configuration file."""
        return self.server(server) / f"{server}.conf"

    def pid_file(self, server: str) -> Path:
        """Return the file that a server writes its process id into."""
        return self.server(server) / f"{server}.pid"

    def log(self, server: str) -> Path:
        """Return a server's own log."""
        return self.server(server) / f"{server}.log"

    def output(self, server: str) -> Path:
        """Return what a server prints before it has opened its log."""
        return self.server(server) / f"{server}.out"

    def tls(self, server: str) -> Path:
        """Return the directory of a server's PEM files."""
        return self.server(server) / "tls"

    def client_port(self, server: str) -> MaterialPaths:
        """Return the files of a server's client port."""
        tls = self.tls(server)
        return MaterialPaths(tls / "server.crt", tls / "server.key", tls / "ca.crt")

    def route_port(self, server: str, *, separate: bool) -> MaterialPaths:
        """Return the files of a server's route port: its own, or those of the client port."""
        if not separate:
            return self.client_port(server)
        tls = self.tls(server)
        return MaterialPaths(tls / "route.crt", tls / "route.key", tls / "route-ca.crt")

    def port(self, server: str, kind: str) -> MaterialPaths:
        """Return the files of another port of a server: `gateway`, `leafnode` and so on."""
        tls = self.tls(server)
        return MaterialPaths(tls / f"{kind}.crt", tls / f"{kind}.key", tls / f"{kind}-ca.pem")

    @property
    def issuer(self) -> Path:
        """The directory of the public-style issuer: its CAs with their keys."""
        return self.root / "issuer"

    def client_material(self, name: str) -> MaterialPaths:
        """Return the files of a client."""
        home = self.client(name)
        return MaterialPaths(home / "client.crt", home / "client.key", home / "ca.crt")

    def status(self, name: str) -> Path:
        """Return the file in which a client says what it uses."""
        return self.client(name) / "status.json"

    def material_directory(self, instance: str) -> Path:
        """Return the directory of the PEM files of a server or client."""
        client = self.client(instance)
        return client if client.is_dir() else self.tls(instance)
