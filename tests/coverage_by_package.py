"""Prints line and branch coverage by package, from what a run of the tests has measured.

    python tests/coverage_by_package.py COVERAGE.json [--floors]

The file is JSON as coverage.py and SlipCover write it. `--floors`: fails when a package is below
what it has to reach.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PURE = frozenset({"bosh_interpolate", "codec", "fleet", "nats_config", "pki", "planner"})
"""Packages that only compute: whoever changes them can cover them without a lab."""
PURE_FLOOR = 95.0
FLOOR = 90.0
OURS = "packages/"


class Count(NamedTuple):
    """Lines and branches: how many there are, and how many were run."""

    there: int = 0
    run: int = 0

    def plus(self, other: Count) -> Count:
        """Return both together."""
        return Count(self.there + other.there, self.run + other.run)

    @property
    def percent(self) -> float:
        """What was run, in percent; nothing at all is all of it."""
        return 100 * self.run / self.there if self.there else 100.0


def floor_of(package: str) -> float:
    """Return what a package has to reach, with all tests and the processes that they start."""
    return PURE_FLOOR if package.rpartition(".")[2] in PURE else FLOOR


def package_of(path: Path) -> str:
    """Return the distribution's package, or that below `rollover`, which has many."""
    parts = path.parts[path.parts.index("src") + 1 :]
    return ".".join(parts[: 2 if parts[0] == "rollover" and len(parts) > 2 else 1])


def never_run(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that no test can run: imports for types, bodies of protocols, dead ends."""
    for node in ast.walk(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body):
                yield from range(node.lineno, (body[-1].end_lineno or 0) + 1)
            case ast.Expr(value=ast.Constant(value=value)) if value is ...:
                yield node.lineno
            case ast.Call(func=ast.Name(id="assert_never")):
                # The line of its `case` is only ever passed over.
                yield from (node.lineno - 1, node.lineno)


def counted(path: Path, measured: dict[str, list[int]]) -> Count:
    """Return what was run of a file, lines and branches together."""
    excluded = set(never_run(ast.parse(path.read_text(encoding="utf-8"))))

    def kept(entries: Iterable[int | Sequence[int]]) -> int:
        places = (entry if isinstance(entry, int) else entry[0] for entry in entries)
        return sum(place not in excluded for place in places)

    run = kept(measured["executed_lines"]) + kept(measured.get("executed_branches", ()))
    missing = kept(measured["missing_lines"]) + kept(measured.get("missing_branches", ()))
    return Count(run + missing, run)


def by_package(report: Path) -> dict[str, Count]:
    """Return a count for each package, and one for all."""
    found: defaultdict[str, Count] = defaultdict(Count)
    for name, measured in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        path = Path(name)
        if OURS in path.as_posix() and "src" in path.parts:
            count = counted(path, measured)
            for package in (package_of(path), "all"):
                found[package] = found[package].plus(count)
    return dict(sorted(found.items()))


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 when a floor is asked for and not reached."""
    below = []
    say("lines and branches that were run, by package")
    for package, count in by_package(Path(arguments[0])).items():
        say(f"  {package:<28}{count.there:>8}{count.percent:>8.1f} %")
        if count.percent < floor_of(package):
            below.append(f"{package} is below {floor_of(package):g} %")
    if "--floors" in arguments and below:
        say("\n".join(below))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
