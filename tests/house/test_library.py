"""The library without its command line: a whole rotation imports neither click nor a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rollover_lab.nats import lab, spec

PROGRAM = Path(__file__).parents[2] / "examples" / "library" / "rotate.py"
STRANGERS = """
import runpy, sys
import rollover
assert not [each for each in sys.modules if each.startswith("rollover.")], "imported too early"
outcome = runpy.run_path(sys.argv[1])["rotate"](sys.argv[2])
assert outcome.ending == "done", outcome.message
print(*sorted(each for each in sys.modules if (each + ".").startswith(("click.", "rollover.cli."))))
"""
PATIENCE_SECONDS = 200


def test_a_whole_rotation_needs_no_command_line(tmp_path: Path) -> None:
    """Plan, rotate and verify through `open_fleet`: no command is imported, and no click."""
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
