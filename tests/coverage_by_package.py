"""Prints branch coverage by package from what a run of the tests has measured.

`--floors`: fails when a package is below what it has to reach.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from coverage import Coverage
from coverage.results import Numbers

PURE = frozenset(
    {"bosh_interpolate", "codec", "fleet", "manifest", "nats_config", "pki", "planner"}
)
"""Packages that only compute: whoever changes them can cover them without a lab."""
PURE_FLOOR = 95.0
FLOOR = 90.0


class Row(NamedTuple):
    """A package and what of its statements and branches was run, in percent."""

    package: str
    statements: int
    covered: float

    @property
    def floor(self) -> float:
        """What it has to reach, with all tests and the processes that they start."""
        return PURE_FLOOR if self.package.rpartition(".")[2] in PURE else FLOOR


def package_of(path: Path) -> str:
    """Return the distribution's package, or that below `rollover`, which has many."""
    parts = path.parts[path.parts.index("src") + 1 :]
    return ".".join(parts[: 2 if parts[0] == "rollover" and len(parts) > 2 else 1])


def rows(measured: Coverage) -> list[Row]:
    """Return a row for each package, and one for all."""
    found: dict[str, Numbers] = defaultdict(Numbers)
    for name in measured.get_data().measured_files():
        if Path(name).exists():
            numbers = measured._analyze(name).numbers
            found[package_of(Path(name))] += numbers
            found["all"] += numbers
    return [Row(name, one.n_statements, one.pc_covered) for name, one in sorted(found.items())]


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """Print the table; return 1 when a floor is asked for and not reached."""
    measured = Coverage()
    measured.load()
    below = []
    say("branch coverage by package")
    for row in rows(measured):
        say(f"  {row.package:<28}{row.statements:>8}{row.covered:>8.1f} %")
        if row.covered < row.floor:
            below.append(f"{row.package} is below {row.floor:g} %")
    if "--floors" in sys.argv[1:] and below:
        say("\n".join(below))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
