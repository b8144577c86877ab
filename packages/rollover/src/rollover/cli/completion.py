"""`rollover completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_ROLLOVER_COMPLETE"
"""By this variable the script asks `rollover` for completions; click's own convention."""


@click.command(
    epilog="Examples:\n\n  rollover completion bash > ~/.local/share/bash-completion/completions/"
    'rollover\n\n  eval "$(rollover completion zsh)"',
    short_help="Shell completion.",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell: put it where that shell looks for completions."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - used here only

    maker = get_completion_class(shell)
    assert maker is not None  # noqa: S101 - the choices are click's own
    script = maker(context.find_root().command, {}, "rollover", VARIABLE)
    click.echo(script.source_template % script.source_vars())
