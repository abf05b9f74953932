"""Manual pages of the commands, made from their help by click-man.

python scripts/man_pages.py docs/man
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click_man.core import write_man_pages

from bigcodec_cli import __version__
from bigcodec_cli.main import cli
from bigcodec_cli.reference import BEHAVIOR

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def prepared(command: click.Command, parent: click.Context | None, name: str) -> click.Command:
    """The command as click-man reads it: subcommands loaded, summaries whole, text escaped."""
    command.short_help = escaped(command.get_short_help_str(limit=200))
    command.help = escaped(command.help or "")
    for option in command.params:
        if isinstance(option, click.Option):
            option.help = escaped(option.help or "")
    if not isinstance(command, click.Group):
        return command
    context = click.Context(command, info_name=name, parent=parent)
    commands = dict(subcommands(command, context))
    return click.Group(
        name, commands, params=command.params, help=command.help, short_help=command.short_help
    )


def subcommands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield name, prepared(command, context, name)


def escaped(text: str) -> str:
    """For roff: options keep their hyphens, so that they can be copied from the page, and no line
    begins with a sign that makes it a request."""
    text = re.sub(r"(?<!\w)-|(?<=-)-", r"\\-", inspect.cleandoc(text).replace("\\", r"\e"))
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def release_date() -> str:
    heading = rf"^## \[{re.escape(__version__)}\] - (\S+)"
    match = re.search(heading, CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else "unreleased"


def notes() -> str:
    return f".SH NOTES\n{escaped(BEHAVIOR).replace('`', '').strip()}\n"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page in folder.glob("*.1"):
        page.unlink()
    group = prepared(cli, None, "bigcodec")
    write_man_pages("bigcodec", group, version=__version__, target_dir=folder, date=release_date())
    with (folder / "bigcodec.1").open("a", encoding="utf-8") as page_of_all:
        page_of_all.write(notes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
