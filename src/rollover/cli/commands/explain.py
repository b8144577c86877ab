"""`rollover explain`: what a rule means, with an example and the remedy."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(
    epilog="Examples:\n\n  rollover explain\n\n  rollover explain reissue-before-withdraw",
    short_help="What a rule means.",
)
@click.argument("rule", required=False)
@settings_options
def command(**values: Any) -> None:
    """Explain one rule, or list all of them. Needs no fleet."""
    from difflib import get_close_matches  # noqa: PLC0415 - for a wrong word only

    from rollover.cli.views import rules as view  # noqa: PLC0415 - not needed for `--help`
    from rollover.errors import SpecError  # noqa: PLC0415
    from rollover.rule_catalogue import CATALOGUE  # noqa: PLC0415

    printer = settings_of(values).printer()
    wanted = values["rule"]
    if wanted is None:
        if printer.json:
            printer.data("rules", CATALOGUE.rules)
        else:
            view.show_list(printer, CATALOGUE.rules)
        return
    found = CATALOGUE.rule(wanted)
    if found is None:
        near = get_close_matches(wanted, [each.id for each in CATALOGUE.rules], n=1, cutoff=0.5)
        meant = f"did you mean `{near[0]}`? " if near else ""
        raise SpecError(
            f"there is no rule `{wanted}`", hint=f"{meant}`rollover explain` lists them all"
        )
    if printer.json:
        printer.data("rule", found)
    else:
        view.show(printer, found)
