"""The README of rollover-lab."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    """It starts a lab, and prints what the page says."""
    [example] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [printed] = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    ended = subprocess.run(
        (sys.executable, "-W", "error", "-c", example),
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, printed, "")
