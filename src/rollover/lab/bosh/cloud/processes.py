"""Child processes inside an event loop, without threads: the kernel ties them to this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rollover.lab import children

GRACE_SECONDS = 8.0
"""How long a process may take to end in order before it is killed."""


async def run(
    argv: Sequence[str],
    *,
    directory: Path,
    output: Path,
    started: list[int] | None = None,
) -> int:
    """Run a process to its end and return its exit code; being cancelled ends it.

    `started` gets its process id.
    """
    process = children.start(argv, directory=directory, output=output)
    if started is not None:
        started.append(process.pid)
    try:
        return await _ended(process)
    except asyncio.CancelledError:
        await _end(process)
        raise


async def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_ended(process), GRACE_SECONDS)
        return
    process.kill()
    process.wait()


async def _ended(process: subprocess.Popen[bytes]) -> int:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()
