"""Where the workspace is: tests find examples from its root, wherever they stand themselves."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
