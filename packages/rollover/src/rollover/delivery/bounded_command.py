"""Runs an operator's command: no shell, bounded output, a time limit, no key in what it says."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import IO, Final, NamedTuple

from rollover.fleet.secret import SecretBytes, redacted

LARGEST_OUTPUT: Final = 64 * 1024
"""Bytes that are kept of what a command says: the last ones, because errors come last."""

_CHUNK: Final = 16 * 1024
_EXIT_POLL_SECONDS: Final = 0.05
"""How often to look whether the command ended while something it started holds its output open."""
_TERMINATE_SECONDS: Final = 2.0


class CommandResult(NamedTuple):
    """How a command ended. `code` is negative for a signal; `timed_out` when we had to end it."""

    code: int
    output: str
    timed_out: bool


def run(
    argv: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    timeout_seconds: float,
    secrets: tuple[SecretBytes, ...] = (),
) -> CommandResult:
    """Run a command to its end and return how that was; `OSError` when it cannot be started.

    Standard output and error come back as one text without private keys and without any line of
    `secrets`. After the time limit the command and all that it started get SIGTERM, then SIGKILL.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,  # so that all it starts can be ended with it
    )
    deadline = time.monotonic() + timeout_seconds
    try:
        output, cut = _listen(process, deadline)
        timed_out = not _ends(process, deadline)
    finally:
        _end(process)
    return CommandResult(process.returncode, _shown(output, cut=cut, secrets=secrets), timed_out)


def _listen(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Read until output or command end or the time is up: the last bytes, and whether some went."""
    kept, cut = b"", False
    pipe = _pipe(process)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            # Something that it left in the background may hold the pipe open for ever.
            if not selector.select(_EXIT_POLL_SECONDS):
                if process.poll() is not None:
                    break
                continue
            chunk = os.read(pipe.fileno(), _CHUNK)
            if not chunk:
                break
            cut = cut or len(kept) + len(chunk) > LARGEST_OUTPUT
            kept = (kept + chunk)[-LARGEST_OUTPUT:]
    return kept, cut


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        message = "the command was started without a pipe"
        raise RuntimeError(message)
    return process.stdout


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command's session when it still runs, and close its output."""
    if process.poll() is None:
        # It leads its session, so its number is that of the whole group.
        os.killpg(process.pid, signal.SIGTERM)
        if not _ends(process, time.monotonic() + _TERMINATE_SECONDS):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _pipe(process).close()


def _shown(output: bytes, *, cut: bool, secrets: tuple[SecretBytes, ...]) -> str:
    text = output.decode("utf-8", "replace")
    if cut:
        # The first line may be the end of a line of a key, which no longer looks like one.
        text = "[earlier output left out]\n" + text.partition("\n")[2]
    return redacted(text, secrets=secrets)
