"""Which files a command works on, and where their outputs go."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from bigcodec_cli.console.messages import CliError

AUDIO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in "wav wave rf64 w64 flac ogg oga opus mp3 aif aiff aifc caf au snd voc sph".split()
)
"""What `-r` takes for audio. Files named one by one are read whatever they are called."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its output; None is standard input or output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """The input as the user knows it."""
        return "stdin" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        """The output as the user knows it."""
        return "stdout" if self.target is None else str(self.target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What the command line says of inputs and outputs. '-' stands for stdin and stdout."""

    inputs: Sequence[str]
    filelist: str | None = None
    null: bool = False
    recursive: bool = False
    output: str | None = None
    output_dir: Path | None = None


def plan(options: InputOptions, suffix: str, accepted: frozenset[str]) -> list[Job]:
    """The jobs of a command, in order. Folders are walked for files of `accepted` suffixes.

    Raises:
        click.UsageError: the options contradict each other.
        CliError: a list or a folder cannot be read, or a folder has nothing for this command.
    """
    names, inputs = _gather(options, accepted)
    if options.output is not None:
        if len(inputs) > 1:
            raise click.UsageError("-o names one file; for several inputs use --output-dir DIR")
        target = None if options.output == "-" else Path(options.output)
        return [Job(source, target) for source, _ in inputs]
    if "-" in names:
        if len(names) > 1 or options.output_dir is not None:
            raise click.UsageError("'-' (stdin) goes alone, to stdout or to the file of -o")
        return [Job(None, None)]
    return [
        Job(path, _target(path, inside, options.output_dir, suffix))
        for path, inside in inputs
        if path is not None
    ]


def sources(options: InputOptions, accepted: frozenset[str]) -> list[Path | None]:
    """The inputs of a command that makes no outputs; None is stdin.

    Raises:
        click.UsageError, CliError: as `plan` does.
    """
    return [path for path, _ in _gather(options, accepted)[1]]


def _gather(
    options: InputOptions, accepted: frozenset[str]
) -> tuple[list[str], list[tuple[Path | None, Path | None]]]:
    _check(options)
    names = [*options.inputs, *_listed(options)]
    if names.count("-") > 1:
        raise click.UsageError("'-' (stdin) can be read only once")
    return names, [pair for name in names for pair in _expand(name, options.recursive, accepted)]


def _check(options: InputOptions) -> None:
    if not options.inputs and options.filelist is None:
        raise click.UsageError("Missing argument 'IN...'.")
    if options.output is not None and options.output_dir is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if options.null and options.filelist is None:
        raise click.UsageError("-0 says how --filelist is separated; give --filelist too")
    if options.filelist == "-" and "-" in options.inputs:
        raise click.UsageError("stdin cannot be both an input and the --filelist")


def _listed(options: InputOptions) -> list[str]:
    if options.filelist is None:
        return []
    try:
        if options.filelist == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(options.filelist).read_bytes()
    except OSError as error:
        raise CliError(f"{options.filelist}: cannot be read: {error.strerror}") from error
    names = content.split(b"\0" if options.null else b"\n")
    if any(b"\0" in name for name in names):
        raise CliError(f"{options.filelist}: holds NUL bytes; use -0 if they separate its names")
    return [os.fsdecode(name) for name in names if name]


def _expand(
    name: str, recursive: bool, accepted: frozenset[str]
) -> Iterable[tuple[Path | None, Path | None]]:
    """Files that a name stands for, each with its path relative to the folder that was walked."""
    if name == "-":
        return [(None, None)]
    path = Path(name)
    if not (recursive and path.is_dir()):
        return [(path, None)]
    files = [(file, file.relative_to(path)) for file in _walk(path, accepted)]
    if not files:
        raise CliError(f"{name}: no file in it ends in {' '.join(sorted(accepted))}")
    return files


def _walk(folder: Path, accepted: frozenset[str]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise CliError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for root, folders, files in os.walk(folder, onerror=failed):
        folders.sort()
        for file in sorted(files):
            if Path(file).suffix.lower() in accepted:
                yield Path(root, file)


def _target(path: Path, inside: Path | None, output_dir: Path | None, suffix: str) -> Path:
    name = f"{path.stem}{suffix}"
    if output_dir is None:
        return path.parent / name
    return output_dir / (inside.parent if inside is not None else "") / name
