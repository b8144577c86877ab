"""A whole rotation through the library imports no command line, and no other platform."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rollover_lab.nats import lab, spec

PROGRAM = Path(__file__).parents[2] / "examples" / "library" / "rotate.py"
STRANGERS = """
import runpy, sys
import rollover
assert not [name for name in sys.modules if name.startswith("rollover.")], "imported too early"
outcome = runpy.run_path(sys.argv[1])["rotate"](sys.argv[2])
assert outcome.ending == "done", outcome.message
strangers = ("click.", "rollover.cli.", "rollover.platforms.bosh.")
print(*sorted(name for name in sys.modules if f"{name}.".startswith(strangers)))
"""
PATIENCE_SECONDS = 200


def test_a_whole_rotation_needs_no_command_line(tmp_path: Path) -> None:
    """Plan, rotate and verify a NATS fleet: no command is imported, no click, nothing of BOSH."""
    with lab.running(spec.preset_named("single"), tmp_path / "lab") as fleet:
        ran = subprocess.run(
            [sys.executable, "-c", STRANGERS, PROGRAM, fleet.layout.fleet],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert "every handshake is as it should be" in ran.stdout
    assert ran.stdout.splitlines()[-1] == ""
