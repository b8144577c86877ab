"""Runs a real bosh-agent in the place of the lab's own (reference/bosh.md §4.2)."""

from __future__ import annotations

from pathlib import Path

from rollover_lab import private_files
from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import AgentDirectory
from rollover_lab.record import Program


def program(files: AgentDirectory, binary: Path, vm_cid: str) -> Program:
    """Return how to run the binary once, with dummy platform and dummy jobs; make its directory.

    Its settings are those of `files`; everything else it keeps in `base` beside them.
    """
    base = files.root / "base"
    for each in (base / "bosh", base / "etc" / "logrotate.d", base / "tmp"):
        each.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    source = {"Type": "File", "SettingsPath": str(files.settings)}
    configuration = base / "config.json"
    directory.write(
        configuration,
        {"Platform": {}, "Infrastructure": {"Settings": {"Sources": [source]}}},
    )
    temporary = f"TMPDIR={base / 'tmp'}"
    agent = (str(binary), "-b", str(base), "-P", "dummy", "-M", "dummy-nats")
    return Program(
        name=f"agent of {vm_cid}",
        argv=("/usr/bin/env", temporary, *agent, "-C", str(configuration)),
        directory=str(base),
        output=str(files.log),
    )
