"""bigcodec completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_PLACES = {
    "bash": "bigcodec completion bash > ~/.local/share/bash-completion/completions/bigcodec",
    "zsh": "bigcodec completion zsh > ~/.zfunc/_bigcodec   (a folder in your fpath)",
    "fish": "bigcodec completion fish > ~/.config/fish/completions/bigcodec.fish",
}


@click.command(epilog="\b\n" + "\n".join(_PLACES.values()))
@click.argument("shell", type=click.Choice(list(_PLACES)))
def command(shell: str) -> None:
    """Print a script that completes commands and options in a shell.

    Keep it where your shell looks for such scripts:
    """
    kind = get_completion_class(shell)
    assert kind is not None
    group = click.get_current_context().find_root().command
    click.echo(kind(group, {}, "bigcodec", "_BIGCODEC_COMPLETE").source())
