"""Runs the lab's director: `python -m rollover_lab.bosh.director --config FILE`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover_lab.bosh.director import process
from rollover_lab.bosh.job_config import DirectorConfig

LOST_NATS, UNUSABLE = 3, 1


def main() -> int:
    """Serve until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="rollover_lab.bosh.director")
    parser.add_argument("--config", type=Path, required=True)
    path: Path = parser.parse_args().config
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        process.serve(msgspec.json.decode(path.read_bytes(), type=DirectorConfig))
    except process.LostNats:
        return LOST_NATS
    except (RolloverError, OSError, msgspec.MsgspecError) as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400 - it says all there is
        return UNUSABLE
    return 0


if __name__ == "__main__":
    code = main()
    # Worker threads may be in the middle of a task; they must not keep the process.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
