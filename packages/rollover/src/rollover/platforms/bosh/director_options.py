"""Describes a director from what a person names, what the bosh CLI is told, and a former file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from rollover.errors import SpecError
from rollover.fleet.description import DirectorDescription, FleetDescription
from rollover.platforms.bosh import discovery
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.discovery import DirectorDiscovery
from rollover.platforms.bosh.login import CLIENT, ENVIRONMENT_VARIABLE, access_to, nats_address


class DirectorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a director; paths are relative to the working directory."""

    environment: str | None = None
    client: str | None = None
    client_secret_file: Path | None = None
    ca_cert: str | None = None
    create_env: Path | None = None
    nats: str | None = None
    monitor: str | None = None


def describe_director(
    options: DirectorOptions,
    before: FleetDescription | None,
    *,
    environment: Mapping[str, str],
    base: Path,
    now: datetime,
) -> DirectorDiscovery:
    """Return what a director shows, with what a former fleet file in `base` says beyond it.

    An option goes before the variable of the bosh CLI, and that before the file. Raises
    `SpecError`, and the `AdapterError` of a director that cannot be asked.
    """
    described = described_director(options, before, environment=environment, base=base)
    access = access_to(described, environment=environment, base=base)
    # An alias of the bosh CLI says nothing to anybody else, and nothing of where NATS is.
    described = msgspec.structs.replace(described, environment=access.url)
    deployed = None
    if described.create_env is not None:
        path = base / described.create_env
        create_env = CreateEnvironment.from_file(path, environment=environment)
        deployed = create_env.inputs().evaluate().properties()
    if deployed is not None and described.nats is None and deployed.nats != nats_address(described):
        described = msgspec.structs.replace(described, nats=deployed.nats or None)
    trusted = deployed.tls.bundle if deployed is not None else ()
    found = discovery.discover(access, described, trusted=trusted, now=now)
    return discovery.discover_again(found, before) if before is not None else found


def described_director(
    options: DirectorOptions,
    before: FleetDescription | None,
    *,
    environment: Mapping[str, str],
    base: Path,
) -> DirectorDescription:
    """Return the section `director` of a fleet file in `base`; `SpecError` without an address."""
    known = before.director if before is not None else None
    address = options.environment or environment.get(ENVIRONMENT_VARIABLE)
    if not address and known is None:
        raise SpecError(
            "no director is named",
            hint=f"name it with `--environment URL` or ${ENVIRONMENT_VARIABLE}",
        )
    named = {
        "environment": address,
        "client": options.client or environment.get(CLIENT),
        "client_secret_file": _beside(options.client_secret_file, base),
        "ca_cert": _path_or_text(options.ca_cert, base),
        "create_env": _beside(options.create_env, base),
        "nats": options.nats,
        "monitor": options.monitor,
    }
    first = known or DirectorDescription(environment=address or "")
    return msgspec.structs.replace(first, **{name: value for name, value in named.items() if value})


def _path_or_text(ca_cert: str | None, base: Path) -> str | None:
    # As the bosh CLI takes it: a path, or the certificate itself.
    if ca_cert is None or "-----BEGIN" in ca_cert:
        return ca_cert
    return _beside(Path(ca_cert), base)


def _beside(path: Path | None, base: Path) -> str | None:
    """Return a path as the fleet file says it: relative where it is in the same directory."""
    if path is None:
        return None
    whole = path.expanduser().absolute()
    return str(whole.relative_to(base) if whole.is_relative_to(base) else whole)
