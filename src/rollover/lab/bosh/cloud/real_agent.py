"""Runs a real bosh-agent in the place of the lab's own (reference/bosh.md §4.2)."""

from __future__ import annotations

from pathlib import Path

from rollover.lab import private_files
from rollover.lab.bosh.agent import directory
from rollover.lab.bosh.agent.directory import AgentDirectory
from rollover.lab.bosh.cloud import processes


async def live(files: AgentDirectory, binary: Path) -> int:
    """Run the binary once, with dummy platform and dummy jobs; return its exit code.

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
    program = (str(binary), "-b", str(base), "-P", "dummy", "-M", "dummy-nats")
    return await processes.run(
        ("/usr/bin/env", temporary, *program, "-C", str(configuration)),
        directory=base,
        output=files.log,
    )
