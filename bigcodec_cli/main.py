"""The command group: what commands there are, and how errors become exit codes.

Exit codes: 0 all fine, 1 something failed, 2 wrong usage (click's own).
"""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType

import click

from bigcodec_cli import __version__
from bigcodec_cli.output import CliError, error_line

_COMMANDS = {
    "compress": "Compress audio files to .bcdc.",
    "decompress": "Restore audio from .bcdc files.",
    "info": "Show what .bcdc files hold.",
    "models": "List, show, fetch, import and choose models.",
    "train": "Train a model on a folder of speech.",
    "export": "Make a model file out of a training run.",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when it is used, so that help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"bigcodec_cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bigcodec")
def cli() -> None:
    """Compress speech to about 1 kbit/s with a neural codec, and restore it.

    bigcodec compress speech.wav -o speech.bcdc

    bigcodec decompress speech.bcdc -o restored.wav
    """


def main() -> None:
    """Entry point of the `bigcodec` command."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(prog_name="bigcodec", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        error_line("interrupted")
        sys.exit(130)
    except CliError as error:
        error_line(str(error))
        sys.exit(1)
    except OSError as error:
        error_line(f"{error.filename or 'error'}: {error.strerror or error}")
        sys.exit(1)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)
