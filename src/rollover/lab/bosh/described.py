"""The files of a BOSH lab for people and for Rollover: env.sh, create-env.sh, fleet.yml."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.fleet.description import (
    AuthorityDescription,
    DirectorDescription,
    FleetDescription,
)
from rollover.fleet.names import AuthorityName
from rollover.lab import private_files
from rollover.lab.bosh.layout import BoshLayout
from rollover.manifest import FileStore
from rollover.pki.pem import read_certificates
from rollover.platforms.bosh.access import Access, access_to

AUTHORITY = AuthorityName("nats_ca")
USER = "admin"
_EXECUTABLE = 0o700


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where things of a lab listen, all `host:port`."""

    director: str
    nats: str
    monitor: str

    @property
    def environment(self) -> str:
        """The director's URL."""
        return f"https://{self.director}"


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What the vars store says of the director's API."""

    password: str
    director_ca: str
    nats_ca: str

    def __repr__(self) -> str:
        return "Secrets(…)"


def secrets(layout: BoshLayout) -> Secrets:
    """Return them from the vars store, once `create-env` has made it."""
    with manifest_errors():
        store = FileStore(layout.credentials).variables()
    return Secrets(
        password=_text(store, "admin_password"),
        director_ca=_text(store, "director_ssl", "ca"),
        nats_ca=_text(store, "nats_ca", "certificate"),
    )


def _text(store: Mapping[str, object], *path: str) -> str:
    value: object = store
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise SpecError(f"there is no `{'/'.join(path)}` in the vars store")
    return value


def access(layout: BoshLayout) -> Access:
    """Return how to log in to the director of a lab that is up."""
    described = read_fleet(layout.fleet.read_bytes(), place=str(layout.fleet)).director
    if described is None:
        raise SpecError("it describes no director", place=str(layout.fleet))
    return access_to(described, environment={}, base=layout.root)


def ops_files(layout: BoshLayout) -> tuple[str, ...]:
    """Return those that belong to the director from the start."""
    return (str(layout.uaa),) if layout.uaa.exists() else ()


def write_create_env(layout: BoshLayout) -> None:
    """Write the operator's command line; it is run in the lab's directory.

    With `--tty`, so that whoever keeps its output has the stages: without a terminal it says no
    more than bosh does, nothing.
    """
    words = (
        _program(),
        *("lab", "create-env", layout.manifest.name, "--tty"),
        *(word for each in ops_files(layout) for word in ("-o", f"./{Path(each).name}")),
        *("--state", f"./{layout.state.name}"),
        *("--vars-store", f"./{layout.credentials.name}"),
        *("-l", f"./{layout.variables.name}"),
    )
    text = f"#!/bin/sh\n# How this director is deployed. Run it here.\n{shlex.join(words)}\n"
    _executable(layout.create_env, text)


def write(layout: BoshLayout, addresses: Addresses) -> None:
    """Write what a shell and Rollover need to talk to the director."""
    found = secrets(layout)
    private_files.write(layout.client_secret, found.password.encode() + b"\n")
    private_files.write(layout.director_ca, found.director_ca.encode())
    private_files.write(layout.environment, _environment(layout, addresses).encode())
    private_files.write(layout.fleet, write_fleet(_fleet(layout, addresses, found)))


def _environment(layout: BoshLayout, addresses: Addresses) -> str:
    lines = (
        ("BOSH_ENVIRONMENT", shlex.quote(addresses.environment)),
        ("BOSH_CLIENT", USER),
        ("BOSH_CLIENT_SECRET", f'"$(cat {shlex.quote(str(layout.client_secret))})"'),
        ("BOSH_CA_CERT", shlex.quote(str(layout.director_ca))),
        ("ROLLOVER_FLEET", shlex.quote(str(layout.fleet))),
    )
    return "".join(f"export {name}={value}\n" for name, value in lines)


def _fleet(layout: BoshLayout, addresses: Addresses, found: Secrets) -> FleetDescription:
    ca = read_certificates(found.nats_ca.encode()).certificates[0]
    return FleetDescription(
        version=1,
        name=layout.root.name,
        groups=(),
        authorities=(AuthorityDescription(name=AUTHORITY, certificates=(ca.fingerprint,)),),
        director=DirectorDescription(
            environment=addresses.environment,
            client=USER,
            client_secret_file=layout.client_secret.name,
            ca_cert=layout.director_ca.name,
            create_env=layout.create_env.name,
            nats=addresses.nats,
            monitor=f"http://{addresses.monitor}",
        ),
    )


def _executable(path: Path, text: str) -> None:
    private_files.write(path, text.encode())
    path.chmod(_EXECUTABLE)


def _program() -> str:
    """Return what calls Rollover: by its name where the shell finds it."""
    if shutil.which("rollover"):
        return "rollover"
    return str(Path(sys.executable).parent / "rollover")
