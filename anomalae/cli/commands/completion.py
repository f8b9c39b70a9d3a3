"""`anomalae completion`: the script by which a shell completes commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
PROGRAM = "anomalae"
# By this variable Click is asked for completions instead of a command.
VARIABLE = "_ANOMALAE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script by which SHELL completes commands, options, names of runs and data sets, and files.

    \b
    To have it in every new shell, with `anomalae` on the PATH:
      bash 4.4 or newer, in ~/.bashrc:        eval "$(anomalae completion bash)"
      zsh, in ~/.zshrc after compinit:        eval "$(anomalae completion zsh)"
      fish, in ~/.config/fish/config.fish:    anomalae completion fish | source

    \b
    Example:
      eval "$(anomalae completion bash)"
    """
    click.echo(SHELLS[shell](ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
