"""`rollover int`: what `bosh interpolate` does, with its options, output and error texts."""

from __future__ import annotations

from typing import Any

import click


@click.command(
    # Said here too: whoever calls this command alone gets the same help.
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:\n\n  rollover int manifest.yml -o ops.yml -v name=value "
    "--vars-store creds.yml > out.yml",
    short_help="Interpolate a BOSH manifest.",
)
@click.argument("manifest")
@click.option("-o", "--ops-file", "ops_files", multiple=True, metavar="PATH", help="Operations.")
@click.option("-v", "--var", "assignments", multiple=True, metavar="VAR=VALUE", help="A variable.")
@click.option(
    "--var-file", "contents", multiple=True, metavar="VAR=PATH", help="A file as a variable."
)
@click.option(
    "-l", "--vars-file", "vars_files", multiple=True, metavar="PATH", help="Variables from YAML."
)
@click.option(
    "--vars-env", "prefixes", multiple=True, metavar="PREFIX", help="Variables `PREFIX_name`."
)
@click.option("--vars-store", metavar="PATH", help="Where typed variables are kept or generated.")
@click.option("--path", metavar="OP-PATH", help="Print what is there, not all (`/private_key`).")
@click.option("--var-errs", is_flag=True, help="Refuse references without a variable.")
@click.option("--var-errs-unused", is_flag=True, help="Refuse variables that nothing uses.")
def command(**values: Any) -> int:
    """Apply ops files and variables to MANIFEST (`-`: from stdin), and print the result.

    Output, error texts and exit codes are those of `bosh interpolate`, so either can replace the
    other in a script. A vars store is written atomically and never empty.
    """
    from bosh_interpolate.command import Interpolation, run  # noqa: PLC0415 - imports YAML

    return run(Interpolation(**values))
