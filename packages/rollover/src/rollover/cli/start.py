"""Where the `rollover` command begins: Ctrl-C is answered while the rest is still imported."""

from __future__ import annotations

import sys

STOPPED = 4
"""`ExitCode.STOPPED`; nothing may be imported here that takes its time."""


def main() -> None:
    """Import the command and run it; a Ctrl-C at any time ends it with a word, not with a trace."""
    try:
        from rollover.cli import app  # noqa: PLC0415 - a Ctrl-C meanwhile has to be caught

        app.main()
    except KeyboardInterrupt:
        sys.stderr.write("\naborted\n")
        sys.exit(STOPPED)
