"""Runs `bosh-interpolate` as `python -m bosh_interpolate`."""

from __future__ import annotations

import sys

from rollover.manifest.command import main

sys.exit(main())
