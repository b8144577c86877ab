"""The program that measures the tree: it prints, it does not gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("measure.py")
ONE = "packages/nats-config"


def test_it_prints_a_row_of_what_it_is_given() -> None:
    """Whoever closes an issue pastes this table."""
    ended = subprocess.run(
        (sys.executable, PROGRAM, f"{ONE}/src/nats_config", "--tests", f"{ONE}/tests"),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    head, line, row = (
        [cell.strip() for cell in printed.strip("| ").split(" | ")]
        for printed in ended.stdout.splitlines()
    )
    assert len(head) == len(line) == len(row)
    files = list((ROOT / ONE / "src/nats_config").glob("*.py"))
    assert row[head.index("files")] == str(len(files))
    assert row[head.index("tests w/ docstr")] == "100.0 %"
