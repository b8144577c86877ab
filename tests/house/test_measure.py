"""The program that measures the tree: it prints, it does not gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("measure.py")


def test_it_prints_a_row_for_each_distribution() -> None:
    """Whoever closes an issue pastes this table."""
    ended = subprocess.run(
        (sys.executable, PROGRAM), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    head, line, *rows = (
        [cell.strip() for cell in row.strip("| ").split(" | ")] for row in ended.stdout.splitlines()
    )
    sources = ROOT.glob("packages/*/src/*/__init__.py")
    assert [row[0] for row in rows] == [*sorted(path.parent.name for path in sources), "all"]
    assert {len(row) for row in (head, line, *rows)} == {len(head)}
    files = [int(row[head.index("files")]) for row in rows]
    assert files[-1] == sum(files[:-1]) > 0
