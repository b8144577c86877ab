"""Which platforms can describe a fleet: beside `wiring`, the only module that names one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollover.errors import SpecError
from rollover.fleet.description import DirectorDescription, FleetDescription
from rollover.platforms.nats.discover import Discovery, DiscoveryRemark, discover
from rollover.platforms.nats.discover_again import again
from rollover.site import load_fleet, now

if TYPE_CHECKING:
    from rollover.platforms.bosh.discovery import Discovery as DirectorDiscovery
    from rollover.platforms.bosh.properties import DirectorProperties


class DirectorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a command line says of a director; paths are relative to the working directory."""

    environment: str | None = None
    client: str | None = None
    client_secret_file: Path | None = None
    ca_cert: str | None = None
    create_env: Path | None = None
    nats: str | None = None
    monitor: str | None = None


def describe(
    configs: Sequence[Path], *, monitors: Sequence[str], working_directory: Path | None
) -> Discovery:
    """Return what configurations and monitoring ports show; `SpecError` when none is named."""
    if not configs and not monitors:
        raise SpecError(
            "nothing to look at",
            hint="name configurations (`--config FILE…`) or monitoring ports (`--monitor URL`), "
            "or look at a BOSH director (`--bosh`)",
        )
    return discover(
        configs,
        environment=dict(os.environ),
        working_directory=working_directory,
        monitors=monitors,
    )


def complete(found: Discovery, out: Path | None) -> Discovery:
    """Return what was found, with what the fleet file that is there says beyond it."""
    if out is None or not out.is_file():
        return found
    try:
        before = load_fleet(out)
    except SpecError as error:
        remark = DiscoveryRemark(
            subject=str(out), message=f"nothing of it can be kept: {error.message}"
        )
        return msgspec.structs.replace(found, remarks=(*found.remarks, remark))
    return again(found, before)


def describe_director(options: DirectorOptions, out: Path | None) -> DirectorDiscovery:
    """Return what a director shows, with what the fleet file that is there says beyond it.

    An option goes before the variable of the bosh CLI, and that before the file. Raises
    `SpecError`, and the `AdapterError` of a director that cannot be asked.
    """
    from rollover.platforms.bosh import discovery  # noqa: PLC0415 - imports an HTTP client
    from rollover.platforms.bosh.access import access_to  # noqa: PLC0415 - likewise
    from rollover.platforms.bosh.describe import nats_address  # noqa: PLC0415 - likewise

    before = load_fleet(out) if out is not None and out.is_file() else None
    base = (out.parent if out is not None else Path()).resolve()
    described = described_director(options, before, environment=os.environ, base=base)
    access = access_to(described, environment=os.environ, base=base)
    # An alias of the bosh CLI says nothing to anybody else, and nothing of where NATS is.
    described = msgspec.structs.replace(described, environment=access.url)
    deployed = _deployed(described, base)
    if deployed is not None and described.nats is None and deployed.nats != nats_address(described):
        described = msgspec.structs.replace(described, nats=deployed.nats or None)
    trusted = deployed.tls.bundle if deployed is not None else ()
    found = discovery.discover(access, described, trusted=trusted, now=now())
    return discovery.again(found, before) if before is not None else found


def described_director(
    options: DirectorOptions,
    before: FleetDescription | None,
    *,
    environment: Mapping[str, str],
    base: Path,
) -> DirectorDescription:
    """Return the section `director` of a fleet file in `base`; `SpecError` without an address."""
    from rollover.platforms.bosh.access import CLIENT  # noqa: PLC0415 - as above
    from rollover.platforms.bosh.address import ENVIRONMENT  # noqa: PLC0415 - as above

    known = before.director if before is not None else None
    address = options.environment or environment.get(ENVIRONMENT)
    if not address and known is None:
        raise SpecError(
            "no director is named",
            hint=f"name it with `--environment URL` or ${ENVIRONMENT}",
        )
    given = {
        "environment": address,
        "client": options.client or environment.get(CLIENT),
        "client_secret_file": _beside(options.client_secret_file, base),
        "ca_cert": _certificate(options.ca_cert, base),
        "create_env": _beside(options.create_env, base),
        "nats": options.nats,
        "monitor": options.monitor,
    }
    first = known or DirectorDescription(environment=address or "")
    return msgspec.structs.replace(first, **{name: value for name, value in given.items() if value})


def _certificate(given: str | None, base: Path) -> str | None:
    if given is None or "-----BEGIN" in given:
        return given
    return _beside(Path(given), base)


def _beside(path: Path | None, base: Path) -> str | None:
    """Return a path as the fleet file says it: relative where it is in the same directory."""
    if path is None:
        return None
    whole = path.expanduser().absolute()
    return str(whole.relative_to(base) if whole.is_relative_to(base) else whole)


def _deployed(described: DirectorDescription, base: Path) -> DirectorProperties | None:
    """Return what the director's own manifest says; None when nobody said where it is."""
    from rollover.platforms.bosh.environment import Environment  # noqa: PLC0415 - one use

    if described.create_env is None:
        return None
    found = Environment.from_file(base / described.create_env, environment=os.environ)
    return found.inputs().evaluate().properties()
