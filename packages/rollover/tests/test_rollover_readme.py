"""The README of rollover-ca."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rollover_lab.nats import lab, spec

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    """It plans the rotation of running servers, and prints what the page says."""
    [example] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [printed] = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    with lab.running(spec.preset_named("single"), tmp_path / "lab") as fleet:
        ended = subprocess.run(
            (sys.executable, "-W", "error", "-c", example),
            cwd=tmp_path,
            env={**os.environ, "ROLLOVER_FLEET": str(fleet.layout.fleet)},
            capture_output=True,
            check=False,
            text=True,
        )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, printed, "")
