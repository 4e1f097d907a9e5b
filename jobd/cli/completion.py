"""`jobd completion`: shell completion of commands and options."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script, for use as in: eval "$(jobd completion bash)"."""
    click.echo(SHELLS[shell](ctx.find_root().command, {}, "jobd", "_JOBD_COMPLETE").source())
