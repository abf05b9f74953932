"""The command group: what commands there are, and how errors become exit codes.

Exit codes: 0 all fine, 1 something failed, 2 wrong usage (click's own); 130 and 143 after SIGINT
and SIGTERM, as shells have it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from bigcodec_cli import __version__
from bigcodec_cli.console.messages import NEEDS_TORCH, WITH_TORCH, CliError, error_line
from bigcodec_cli.console.streams import repair_standard_streams
from bigcodec_cli.files.atomic import discard_all
from bigcodec_models.errors import ModelsError

_COMMANDS = {
    "compress": "Compress audio files to .bcdc.",
    "decompress": "Restore audio from .bcdc files.",
    "info": "Show what .bcdc files hold.",
    "test": "Check that .bcdc files are undamaged.",
    "tokens": "Take tokens out of .bcdc files, or put them in.",
    "models": "List, show, fetch, import, choose and remove models.",
    "train": "Train a model on a folder of speech.",
    "train-prior": "Learn what a model's tokens are like, to make its files smaller.",
    "export": "Make a model file out of a training run.",
    "eval": "Measure what models do to a folder of speech.",
    "compare": "Measure how much one audio file differs from another.",
    "completion": "Print a script that completes commands in a shell.",
}
_SYNONYMS = {
    "encode": "compress",
    "pack": "compress",
    "decode": "decompress",
    "unpack": "decompress",
    "extract": "decompress",
    "restore": "decompress",
    "verify": "test",
    "check": "test",
    "list": "models list",
    "show": "info",
    "evaluate": "eval",
    "benchmark": "eval",
    "diff": "compare",
}
INTERRUPTED = 130
TERMINATED = 143


_LEFT_OUT = (*WITH_TORCH, "huggingface_hub", "jinja2", "onnxruntime")
"""Packages that requirements-light.txt leaves out, or of which one of two will do."""


class _LazyGroup(click.Group):
    """Imports a command's module only when it is used, so that help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"bigcodec_cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'.{_guess(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _guess(name: str) -> str:
    """Which command was probably meant."""
    lower = name.lower()
    close = difflib.get_close_matches(lower, [*_COMMANDS, *_SYNONYMS], n=1)
    if not close:
        return ""
    return f" Did you mean '{_SYNONYMS.get(close[0], close[0])}'?"


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bigcodec")
def cli() -> None:
    """Compress speech to about 1 kbit/s with a neural codec, and restore it.

    bigcodec compress speech.wav -o speech.bcdc

    bigcodec decompress speech.bcdc -o restored.wav
    """


def main() -> None:
    """Entry point of the `bigcodec` command."""
    repair_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, _interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line, `bigcodec` itself left out; gives the exit code."""
    try:
        code = cli.main(list(arguments), prog_name="bigcodec", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        error_line("interrupted")
        return INTERRUPTED
    except (CliError, ModelsError) as error:
        error_line(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _LEFT_OUT:
            raise
        error_line(_missing(error.name))
    except BrokenPipeError:
        _abandon_stdout()  # its reader has had enough, and needs no message
    except OSError as error:
        error_line(f"{error.filename or 'error'}: {error.strerror or error}")
    except MemoryError:
        error_line("out of memory")
    return 1


def _missing(package: str) -> str:
    """What to say where a package is needed that an install without torch leaves out."""
    if package in WITH_TORCH:
        return NEEDS_TORCH
    return f"this needs {package}, which is not installed: pip install {package}"


def _abandon_stdout() -> None:
    """Keep the interpreter from writing what is left in stdout's buffer when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        error_line("interrupted")
        _end_now(INTERRUPTED)
    raise KeyboardInterrupt


def _terminate(_number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        _end_now(TERMINATED)
    raise SystemExit(TERMINATED)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded: an exception would abort one that is written in C++."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end_now(code: int) -> None:
    discard_all()
    os._exit(code)
