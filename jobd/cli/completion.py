"""`jobd completion`: the shell completes commands and options."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell, as in: eval "$(jobd completion bash)"."""
    click.echo(SHELLS[shell](ctx.find_root().command, {}, "jobd", "_JOBD_COMPLETE").source())
