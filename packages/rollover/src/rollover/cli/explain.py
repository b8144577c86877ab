"""`rollover explain`: what a rule means, with an example and the remedy."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.rules.rule import Rule


@click.command(
    epilog="Examples:\n\n  rollover explain\n\n  rollover explain reissue-before-withdraw",
    short_help="What a rule means.",
)
@click.argument("rule", required=False)
@settings_options
def command(**values: Any) -> None:
    """Explain one rule, or list all of them. Needs no fleet."""
    from difflib import get_close_matches  # noqa: PLC0415 - for a wrong word only

    from rollover.errors import SpecError  # noqa: PLC0415
    from rollover.rule_catalogue import whole_catalogue  # noqa: PLC0415

    printer = settings_of(values).printer()
    wanted, catalogue = values["rule"], whole_catalogue()
    if wanted is None:
        if printer.json:
            printer.data("rules", catalogue.rules)
        else:
            show_rules(printer, catalogue.rules)
        return
    found = catalogue.rule(wanted)
    if found is None:
        near = get_close_matches(wanted, [rule.id for rule in catalogue.rules], n=1, cutoff=0.5)
        meant = f"did you mean `{near[0]}`? " if near else ""
        raise SpecError(
            f"there is no rule `{wanted}`", hint=f"{meant}`rollover explain` lists them all"
        )
    if printer.json:
        printer.data("rule", found)
    else:
        show_rule(printer, found)


# The view.

WIDTH = 96


def show_rule(printer: Printer, rule: Rule) -> None:
    """Show everything about one rule."""
    printer.line(f"{rule.id} ({rule.severity.value})", "bold")
    printer.line(rule.title)
    for word, text in (
        ("means", rule.meaning),
        ("why", rule.why),
        ("example", rule.example),
        ("remedy", rule.remedy),
        ("source", rule.source),
    ):
        printer.line()
        lead = f"{word:<9}"
        for line in textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * 9):
            printer.line(line)


def show_rules(printer: Printer, rules: tuple[Rule, ...]) -> None:
    """Show all rules, a line each."""
    printer.table(
        ("rule", "severity", "what it asks for, or refuses"),
        ((rule.id, rule.severity.value, rule.title) for rule in rules),
    )
