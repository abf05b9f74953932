"""Which files a command works on, and where their outputs go."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_input

_Input = tuple[Path | None, Path | None]
"""A file, None for stdin; and its place below the folder that was walked, None if none was."""
_MOST_NAMED = 8
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its output; None is standard input or output. `place` is where the input lies
    below the folder that was walked for it, None if none was."""

    source: Path | None
    target: Path | None
    place: Path | None = None

    @property
    def name(self) -> str:
        """The input as the user knows it."""
        return "stdin" if self.source is None else str(self.source)

    @property
    def short_name(self) -> str:
        """The input without its folder."""
        return "stdin" if self.source is None else self.source.name

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a command, in order; and the suffixes of files left out of folders, with
    how many had each."""

    jobs: Sequence[Job]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def left_out_line(self) -> str | None:
        """What was left out, such as "left out 2 files: .m4a .txt"; None if nothing was."""
        count = sum(self.left_out.values())
        if not count:
            return None
        names = sorted(self.left_out, key=lambda name: (-self.left_out[name], name))
        shown = [name or "without a suffix" for name in names[:_MOST_NAMED]]
        more = " and others" if len(names) > _MOST_NAMED else ""
        return f"left out {count} file{'s' * (count != 1)}: {' '.join(shown)}{more}"


def plan(
    options: InputOptions, suffix: str, accepted: frozenset[str], *, shared: bool = False
) -> Plan:
    """What a command is to do. Folders are walked for files of `accepted` suffixes. Only with
    `shared` can several inputs have one output.

    Raises:
        click.UsageError: the options contradict each other.
        CliError: a list or a folder cannot be read, or a folder has nothing for this command.
    """
    left_out: collections.Counter[str] = collections.Counter()
    names, inputs = _gather(options, accepted, left_out)
    del left_out[suffix]  # outputs of an earlier time
    _check_for_output(options.inputs, suffix)
    return Plan(jobs=_jobs(options, suffix, names, inputs, shared), left_out=left_out)


def _jobs(
    options: InputOptions,
    suffix: str,
    names: Sequence[str],
    inputs: Sequence[_Input],
    shared: bool,
) -> list[Job]:
    if options.output is not None:
        if len(inputs) > 1 and not shared:
            raise click.UsageError("-o names one file; for several inputs use --output-dir DIR")
        target = None if options.output == "-" else Path(options.output)
        if target is not None and not target.parent.is_dir():
            raise CliError(f"{target.parent}: no such folder; make it, or use --output-dir")
        return [Job(source, target, place) for source, place in inputs]
    if "-" in names:
        if len(names) > 1 or options.output_dir is not None:
            raise click.UsageError("'-' (stdin) goes alone, to stdout or to the file of -o")
        return [Job(None, None)]
    return [
        Job(path, _target(path, inside, options.output_dir, suffix), inside)
        for path, inside in inputs
        if path is not None
    ]


def _check_for_output(names: Sequence[str], suffix: str) -> None:
    """Refuse what looks like the output of a single input, named as other programs take it."""
    if len(names) == 2 and Path(names[1]).suffix == suffix and not os.path.lexists(names[1]):
        raise click.UsageError(f"{names[1]}: no such file; to name the output: -o {names[1]}")


def sources(options: InputOptions, accepted: frozenset[str]) -> list[Path | None]:
    """The inputs of a command that makes no outputs; None is stdin.

    Raises:
        click.UsageError, CliError: as `plan` does.
    """
    return [path for path, _ in _gather(options, accepted, collections.Counter())[1]]


def require_audio_folders(folders: Iterable[Path]) -> None:
    """Refuse folders in which no file is named as audio is. Opens no file, and loads no torch.

    Raises:
        CliError: one of them is such a folder, or none at all.
    """
    from bigcodec_models.data.index import require_audio
    from bigcodec_models.errors import DataError

    try:
        for folder in folders:
            require_audio(folder)
    except DataError as error:
        raise CliError(str(error)) from error


def _gather(
    options: InputOptions, accepted: frozenset[str], left_out: collections.Counter[str]
) -> tuple[list[str], list[_Input]]:
    _check(options)
    names = [*options.inputs, *_listed(options)]
    if names.count("-") > 1:
        raise click.UsageError("'-' (stdin) can be read only once")
    pairs = [_expand(name, options.recursive, accepted, left_out) for name in names]
    walked = [name for name in names if options.recursive and Path(name).is_dir()]
    if len(walked) > 1:
        pairs = [_below_its_name(name, some) for name, some in zip(names, pairs, strict=True)]
    return names, [pair for some in pairs for pair in some]


def _below_its_name(name: str, pairs: Sequence[_Input]) -> Sequence[_Input]:
    """Files of a folder that was walked beside others: their places begin with its name, so that
    files with the same name do not collide."""
    top = Path(name).resolve().name
    return [(path, None if inside is None else Path(top, inside)) for path, inside in pairs]


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
            content = standard_input().read()
        else:
            content = Path(options.filelist).read_bytes()
    except OSError as error:
        raise CliError(f"{options.filelist}: cannot be read: {error.strerror}") from error
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if not options.null and content.count(b"\r\n") == content.count(b"\n"):
        content = content.replace(b"\r\n", b"\n")  # written on Windows
    names = content.split(b"\0" if options.null else b"\n")
    if any(b"\0" in name for name in names):
        raise CliError(f"{options.filelist}: holds NUL bytes; use -0 if they separate its names")
    return [os.fsdecode(name) for name in names if name]


def _expand(
    name: str, recursive: bool, accepted: frozenset[str], left_out: collections.Counter[str]
) -> Sequence[_Input]:
    """Files that a name stands for, each with its path relative to the folder that was walked."""
    if name == "-":
        return [(None, None)]
    path = Path(name)
    if not (recursive and path.is_dir()):
        return [(path, None)]
    files = [(file, file.relative_to(path)) for file in _walk(path, accepted, left_out)]
    if not files:
        raise CliError(f"{name}: no file in it ends in {' '.join(sorted(accepted))}")
    return files


def _walk(
    folder: Path, accepted: frozenset[str], left_out: collections.Counter[str]
) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise CliError(f"{error.filename}: cannot be read: {error.strerror}") from error

    visited: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=failed, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in visited:  # links can lead in a circle
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(name for name in files if not name.startswith(".")):
            suffix = Path(file).suffix.lower()
            if suffix in accepted:
                yield Path(root, file)
            else:
                left_out[suffix] += 1


def _target(path: Path, inside: Path | None, output_dir: Path | None, suffix: str) -> Path:
    name = f"{path.stem}{suffix}"
    if output_dir is None:
        return path.parent / name
    return output_dir / (inside.parent if inside is not None else "") / name
