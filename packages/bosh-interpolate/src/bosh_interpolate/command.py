"""The command `bosh-interpolate`: what `bosh interpolate` does, to the byte."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from bosh_interpolate import arguments
from bosh_interpolate.errors import ManifestError
from bosh_interpolate.interpolation import interpolate
from bosh_interpolate.values import octets

DONE, FAILED, STOPPED = 0, 1, 130
"""Exit codes; that of a Ctrl-C is 128 and the signal's number, as in a shell."""

_DESCRIPTION = """\
Apply ops files and variables to MANIFEST (`-`: from stdin), and print the result.

Output, error texts and exit codes are those of `bosh interpolate`, so either can replace the
other in a script. A vars store is written atomically and never empty.
"""
_EXAMPLE = """\
Example:

  bosh-interpolate manifest.yml -o ops.yml -v name=value --vars-store creds.yml > out.yml
"""


class Interpolation(NamedTuple):
    """A call of the command: texts as they are given."""

    manifest: str
    ops_files: Sequence[str] = ()
    assignments: Sequence[str] = ()
    contents: Sequence[str] = ()
    vars_files: Sequence[str] = ()
    prefixes: Sequence[str] = ()
    vars_store: str | None = None
    path: str | None = None
    var_errs: bool = False
    var_errs_unused: bool = False

    def result(self) -> str:
        """Return what the command prints; `ManifestError` with the texts of `bosh`."""
        return interpolate(
            arguments.read_template(self.manifest),
            operations=arguments.read_operations(self.ops_files),
            variables=arguments.read_variables(
                assignments=self.assignments,
                contents=self.contents,
                files=self.vars_files,
                prefixes=self.prefixes,
            ),
            store=arguments.open_store(self.vars_store),
            path=arguments.parse_path(self.path),
            all_found=self.var_errs,
            all_used=self.var_errs_unused,
        )


def run(wanted: Interpolation) -> int:
    """Print the result and return the exit code.

    As `bosh`, a failure leaves one empty line on stdout, the reason and the code on stderr.
    """
    try:
        text = wanted.result()
    except ManifestError as error:
        sys.stdout.write("\n")
        sys.stderr.write(f"{error.report()}\nExit code {FAILED}\n")
        return FAILED
    sys.stdout.flush()
    sys.stdout.buffer.write(octets(text))
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, those of the process by default."""
    # A reader that has enough, `… | head` for one, ends the command without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return run(Interpolation(**vars(_parser().parse_args(argv))))
    except KeyboardInterrupt:
        sys.stderr.write("\naborted\n")
        return STOPPED


class _Parser(argparse.ArgumentParser):
    """Ends with 1 for arguments that cannot be read: argparse's 2 means something else here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bosh-interpolate",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("manifest", metavar="MANIFEST")
    for names, target, metavar, meaning in (
        (("-o", "--ops-file"), "ops_files", "PATH", "Operations."),
        (("-v", "--var"), "assignments", "VAR=VALUE", "A variable."),
        (("--var-file",), "contents", "VAR=PATH", "A file as a variable."),
        (("-l", "--vars-file"), "vars_files", "PATH", "Variables from YAML."),
        (("--vars-env",), "prefixes", "PREFIX", "Variables `PREFIX_name`."),
    ):
        parser.add_argument(
            *names, dest=target, action="append", default=[], metavar=metavar, help=meaning
        )
    parser.add_argument(
        "--vars-store", metavar="PATH", help="Where typed variables are kept or generated."
    )
    parser.add_argument(
        "--path", metavar="OP-PATH", help="Print what is there, not all (`/private_key`)."
    )
    parser.add_argument(
        "--var-errs", action="store_true", help="Refuse references without a variable."
    )
    parser.add_argument(
        "--var-errs-unused", action="store_true", help="Refuse variables that nothing uses."
    )
    return parser
