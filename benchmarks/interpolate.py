"""`rollover int` as a whole process on a manifest of cf-deployment's size, beside `bosh int`.

Run: `python benchmarks/interpolate.py [--rounds N] [--keep DIR]`. The manifest (88 KB), 30 ops
files and 150 variables are made up here, always the same but for their keys. The command takes
turns with `bosh`, where there is one on the PATH, so that other work on the machine disturbs both
alike, and their outputs are compared; the medians of wall and CPU time are shown. Byte code is
compiled once beforehand into a directory of its own, as an installation has it. The last case is a
defect of `bosh` (it reads the vars store anew for each look-up), no merit of ours.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter
from typing import NamedTuple

from bosh_interpolate import emit
from bosh_interpolate.values import Key, Tree

ROUNDS = 7
GROUPS, JOBS = 34, 8
OPS_FILES, OPERATIONS = 30, 6
CERTIFICATES, PASSWORDS = 110, 40
RUN = (
    sys.executable,
    "-c",
    """
import sys
from rollover.cli.interpolate import command
sys.exit(int(command(args=sys.argv[1:], standalone_mode=False) or 0))
""",
)


class Case(NamedTuple):
    """A job, and how many times the time of `bosh` it may take."""

    name: str
    arguments: tuple[str, ...]
    goal: float


class Sample(NamedTuple):
    """What one process took, and what it printed."""

    wall_ms: float
    cpu_ms: float
    output: bytes


def main() -> None:
    """Make the files, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", type=Path, help="leave the files here")
    options = parser.parse_args()
    bosh = shutil.which("bosh")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(temporary, "bytecode")  # noqa: PTH118
        cases = prepare(folder)
        print(f"manifest {(folder / 'manifest.yml').stat().st_size:,} bytes, {OPS_FILES} ops files")
        print(
            f"{'job':34} {'wall ms':>8} {'CPU ms':>8} {'bosh wall':>10} {'CPU':>6} "
            f"{'ratio':>6} {'goal':>5}"
        )
        for case in cases:
            report(case, bosh, options.rounds)
    if bosh is None:
        print("no `bosh` on the PATH: nothing to compare with")


def report(case: Case, bosh: str | None, rounds: int) -> None:
    """Measure one job and print its line."""
    run((*RUN, *case.arguments))
    pairs = [(run((*RUN, *case.arguments)), theirs(case, bosh)) for _ in range(rounds)]
    ours = [sample for sample, _ in pairs]
    wall = statistics.median(sample.wall_ms for sample in ours)
    cpu = statistics.median(sample.cpu_ms for sample in ours)
    found = [(sample, other) for sample, other in pairs if other is not None]
    if not found:
        print(f"{case.name:34} {wall:8.0f} {cpu:8.0f} {'-':>10} {'-':>6} {'-':>6} {case.goal:5.2f}")
        return
    ratio = statistics.median(sample.wall_ms / other.wall_ms for sample, other in found)
    their_wall = statistics.median(other.wall_ms for _, other in found)
    their_cpu = statistics.median(other.cpu_ms for _, other in found)
    same = all(sample.output == other.output for sample, other in found)
    verdict = "" if same else "  OUTPUT DIFFERS"
    print(
        f"{case.name:34} {wall:8.0f} {cpu:8.0f} {their_wall:10.0f} {their_cpu:6.0f} {ratio:6.2f} "
        f"{case.goal:5.2f}{verdict}"
    )


def theirs(case: Case, bosh: str | None) -> Sample | None:
    """Let `bosh` do the same job, where there is one."""
    return run((bosh, "int", *case.arguments)) if bosh else None


def run(command: Sequence[str]) -> Sample:
    """Run a process to its end."""
    before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    wall, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(wall * 1000, cpu * 1000, ended.stdout)


def prepare(folder: Path) -> tuple[Case, ...]:
    """Write the files; return the jobs, each with the goal of the issue."""
    manifest, store = folder / "manifest.yml", folder / "vars.yml"
    manifest.write_text(emit(manifest_tree()))
    store.write_text(emit(variables()))
    store.chmod(0o600)
    files = []
    for number, operations in enumerate(ops_files()):
        path = folder / f"ops-{number}.yml"
        path.write_text(emit(operations))
        files.append(path)
    flags = tuple(word for path in files for word in ("-o", os.fspath(path)))
    first, job = flags[:2], os.fspath(manifest)
    return (
        Case("1 ops file", (job, *first), 1.3),
        Case("30 ops files", (job, *flags), 1.3),
        Case("30 ops files, 150 variables (-l)", (job, *flags, "-l", os.fspath(store)), 0.8),
        Case("the same by --vars-store", (job, *flags, "--vars-store", os.fspath(store)), 0.03),
    )


def manifest_tree() -> Tree:
    """Return a manifest with groups, jobs and properties that refer to the variables."""
    groups: list[Tree] = [group(number) for number in range(GROUPS)]
    definitions: list[Tree] = [{"name": name, "type": "certificate"} for name in names()]
    tree: dict[Key, Tree] = {
        "name": "cf",
        "releases": [{"name": f"release-{n}", "version": f"1.{n}.0"} for n in range(40)],
        "instance_groups": groups,
        "variables": definitions,
    }
    return tree


def group(number: int) -> Tree:
    """Return an instance group."""
    return {
        "name": f"group-{number}",
        "azs": ["z1", "z2"],
        "instances": 2,
        "vm_type": "small",
        "networks": [{"name": "default"}],
        "jobs": [job(number * JOBS + place) for place in range(JOBS)],
    }


def job(number: int) -> Tree:
    """Return a job with an address, a TLS pair and a password."""
    certificate = f"certificate_{number % CERTIFICATES}"
    return {
        "name": f"job-{number}",
        "release": f"release-{number % 40}",
        "properties": {
            "host": f"job-{number}.service.cf.internal",
            "port": 8000 + number,
            "tls": {
                "ca_cert": f"(({certificate}.ca))",
                "cert": f"(({certificate}.certificate))",
                "key": f"(({certificate}.private_key))",
            },
            "password": f"((password_{number % PASSWORDS}))",
        },
    }


def ops_files() -> Iterator[Tree]:
    """Yield ops files that replace, append, insert and remove."""
    for file in range(OPS_FILES):
        operations: list[Tree] = []
        for place in range(OPERATIONS):
            name = f"group-{(file * OPERATIONS + place) % GROUPS}"
            operations.append(operation(f"/instance_groups/name={name}", file, place))
        yield operations


def operation(path: str, file: int, place: int) -> Tree:
    """Return one operation below an instance group."""
    value: Tree = {"name": f"extra-{file}-{place}", "release": "x", "properties": {"a": [1, 2]}}
    match place % 3:
        case 0:
            return {"type": "replace", "path": f"{path}/jobs/-", "value": value}
        case 1:
            return {"type": "replace", "path": f"{path}/env?/bosh/n{file}", "value": value}
        case _:
            return {"type": "replace", "path": f"{path}/jobs/0:before", "value": value}


def names() -> Iterator[str]:
    """Yield the names of all variables."""
    yield from (f"certificate_{number}" for number in range(CERTIFICATES))
    yield from (f"password_{number}" for number in range(PASSWORDS))


def variables() -> Tree:
    """Return values as large as certificates, of random letters: nothing here is a key."""
    found: dict[Key, Tree] = {}
    for name in names():
        pem: dict[Key, Tree] = {field: block(lines) for field, lines in LINES.items()}
        found[name] = pem if name.startswith("certificate") else secrets.token_hex(10)
    return found


LINES = {"ca": 24, "certificate": 26, "private_key": 38}
"""Lines of PEM with a key of 3072 bits."""


def block(lines: int) -> Tree:
    """Return lines like those of PEM."""
    body = "".join(secrets.token_urlsafe(48) + "\n" for _ in range(lines))
    return f"-----BEGIN BENCHMARK-----\n{body}-----END BENCHMARK-----\n"


if __name__ == "__main__":
    main()
