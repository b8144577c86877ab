"""Stemcells and releases that the director has.

The lab has no files of them: what a manifest names counts as uploaded when it is first deployed.
"""

from __future__ import annotations

import hashlib

import msgspec

from rollover_lab.bosh.director.database import Database

CPI = "rollover_lab"
LATEST = "latest"
FIRST_VERSION = "1.500"
"""Of a stemcell or release that a manifest wants in its latest version, and none is there."""


class Stemcell(msgspec.Struct, frozen=True, kw_only=True):
    """What VMs are made from."""

    name: str
    version: str
    operating_system: str
    cid: str
    cpi: str = CPI
    api_version: int = 3
    id: int = 0


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a release, and the names of its jobs as far as manifests name them."""

    name: str
    version: str
    jobs: tuple[str, ...] = ()

    @property
    def commit_hash(self) -> str:
        """Something that looks like one, the same for each version."""
        known = f"{self.name}/{self.version}".encode()
        return hashlib.sha1(known, usedforsecurity=False).hexdigest()[:10]


class Stock:
    """Finds and adds stemcells and releases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stemcells(self) -> tuple[Stemcell, ...]:
        """Return every stemcell, by name and version."""
        rows = self._database.rows("SELECT * FROM stemcells ORDER BY name, id")
        return tuple(msgspec.convert(dict(row), Stemcell) for row in rows)

    def releases(self) -> tuple[Release, ...]:
        """Return every version of every release."""
        rows = self._database.rows("SELECT * FROM releases ORDER BY name, version")
        return tuple(
            Release(name=row["name"], version=row["version"], jobs=tuple(row["jobs"].split()))
            for row in rows
        )

    def stemcell(self, *, name: str, operating_system: str, version: str) -> Stemcell:
        """Return the stemcell that a manifest names; it is added when it is not there."""
        name = name or f"bosh-lab-{operating_system}-go_agent"
        known = [each for each in self.stemcells() if each.name == name]
        if version == LATEST:
            version = known[-1].version if known else FIRST_VERSION
        for each in known:
            if each.version == version:
                return each
        self._database.insert(
            "stemcells",
            name=name,
            version=version,
            operating_system=operating_system or _system_in(name),
            cid=f"stemcell-{name}-{version}",
        )
        return self.stemcell(name=name, operating_system=operating_system, version=version)

    def release(self, *, name: str, version: str, jobs: tuple[str, ...]) -> Release:
        """Return the release that a manifest names; it is added when it is not there."""
        known = [each for each in self.releases() if each.name == name]
        if version == LATEST:
            version = known[-1].version if known else FIRST_VERSION
        had = next((each.jobs for each in known if each.version == version), ())
        found = Release(name=name, version=version, jobs=tuple(dict.fromkeys((*had, *jobs))))
        self._database.run(
            "INSERT OR REPLACE INTO releases (name, version, jobs) VALUES (?, ?, ?)",
            name,
            version,
            " ".join(found.jobs),
        )
        return found


def _system_in(stemcell: str) -> str:
    """Return the operating system in a stemcell's name: `bosh-IAAS-HYPERVISOR-OS-go_agent`."""
    parts = stemcell.removesuffix("-go_agent").split("-")
    return "-".join(parts[-2:])
