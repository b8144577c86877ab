"""The cloud's process: `python -m rollover.lab.bosh.cloud --directory LAB`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rollover.errors import RolloverError
from rollover.lab.bosh.agent.timing import Timing
from rollover.lab.bosh.cloud import daemon


def main() -> int:
    """Run the cloud until it is told to end."""
    parser = argparse.ArgumentParser(prog="rollover.lab.bosh.cloud", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the lab's directory")
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="what every wait of an agent is multiplied with; 0.1 for a lab in a hurry",
    )
    arguments = parser.parse_args()
    try:
        timing = Timing().hurried(arguments.pace)
        asyncio.run(daemon.serve(arguments.directory.absolute(), timing))
    except RolloverError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
