"""The health monitor's process: `python -m rollover_lab.bosh.health_monitor --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import msgspec

from rollover_lab.bosh.health_monitor import monitor
from rollover_lab.bosh.job_config import HealthMonitorConfig


async def _until_told(config: HealthMonitorConfig) -> int:
    """Run until SIGTERM (0) or the end of the connection to NATS (1)."""
    work = asyncio.create_task(monitor.run_monitor(config))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work
        return 1
    return 0


def main() -> int:
    """Read the configuration and be the health monitor; 1 when it cannot start or go on."""
    parser = argparse.ArgumentParser(prog="rollover_lab.bosh.health_monitor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="health_monitor.json")
    arguments = parser.parse_args()
    try:
        config = msgspec.json.decode(arguments.config.read_bytes(), type=HealthMonitorConfig)
        return asyncio.run(_until_told(config))
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        # ssl.SSLError is an OSError: credentials that cannot be used end up here too.
        sys.stderr.write(f"error: the health monitor cannot run: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
