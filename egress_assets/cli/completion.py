"""`egress completion`"""

from __future__ import annotations

import click

from egress_assets.cli._output import write


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes verbs, datasets, units and dates.

    For bash: egress completion bash > /etc/bash_completion.d/egress
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    write(kind(ctx.find_root().command, {}, "egress", "_EGRESS_COMPLETE").source())
