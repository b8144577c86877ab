"""The traffic as a process: `python -m rollover_lab.traffic --spec FILE`, ended by SIGTERM.

It ends with 0 also when messages were lost: the reader of the report is the judge. It ends with
the error's own code when it could not start.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from rollover.errors import RolloverError
from rollover_lab.traffic import run, spec
from rollover_lab.traffic.spec import TrafficSpec


def main(arguments: list[str] | None = None) -> int:
    """Run the traffic that the arguments name and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rollover_lab.traffic", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="a JSON file: `TrafficSpec`")
    chosen = parser.parse_args(arguments)
    # asyncio and nats-py log every lost connection; the report has them counted.
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(_run(spec.read(chosen.spec)))
    except RolloverError as error:
        hint = f"\n\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{hint}\n")
        return error.exit_code
    return 0


async def _run(wanted: TrafficSpec) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run.run(wanted, stop)


if __name__ == "__main__":
    sys.exit(main())
