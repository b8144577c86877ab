"""The READMEs of `rollover-ca` and `rollover-lab`: their examples, on real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rollover_lab.nats import lab, spec

PACKAGES = Path(__file__).parents[2] / "packages"


def _example(distribution: str) -> tuple[str, str]:
    """Return the program of a README, and what it prints."""
    readme = (PACKAGES / distribution / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    [printed] = re.findall(r"^```text\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return program, printed


def _run(program: str, *, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-W", "error", "-c", program),
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        text=True,
    )


def test_the_example_of_the_product_plans_as_it_stands(tmp_path: Path) -> None:
    """With a real fleet it prints what the page says, and changes nothing there."""
    program, printed = _example("rollover")
    with lab.running(spec.preset_named("single"), tmp_path / "lab") as fleet:
        ended = _run(program, directory=tmp_path, ROLLOVER_FLEET=str(fleet.layout.fleet))
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr


def test_the_example_of_the_lab_runs_as_it_stands(tmp_path: Path) -> None:
    """It starts a fleet, prints what the page says, and leaves nothing running."""
    program, printed = _example("rollover-lab")
    ended = _run(program, directory=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr
    assert not lab.status(tmp_path / "lab").up
