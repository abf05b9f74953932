"""The reference page of the commands, generated from their help.

python -m bigcodec_cli.reference > docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from bigcodec_cli.main import cli

BEHAVIOR = """\
Exit codes: 0 all fine, 1 something failed, 2 wrong usage; 130 and 143 after Ctrl-C and SIGTERM.
Messages go to stderr, nothing but data to stdout. A file appears under its name only when it is
whole. A container is read into memory, and refused above 1 GiB (some 2000 hours of speech).
Environment: `BIGCODEC_MODEL` (the default model), `BIGCODEC_HOME` (where models are kept).
"""
"""What holds for every command."""
_INTRODUCTION = f"""\
# Commands

Made by `python -m bigcodec_cli.reference` from the commands themselves; do not edit.

{BEHAVIOR}"""
_WIDTH = 96


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_INTRODUCTION, *_pages(cli, "bigcodec", None)])


def _pages(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    name = path.rpartition(" ")[2]
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=_WIDTH, terminal_width=_WIDTH
    )
    context.help_option_names = ["-h", "--help"]
    yield f"## {path}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            subcommand = command.get_command(context, child)
            assert subcommand is not None
            yield from _pages(subcommand, f"{path} {child}", context)


if __name__ == "__main__":
    print(reference(), end="")
