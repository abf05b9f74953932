"""Many inputs, one after another: output names, failures that do not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from bigcodec_cli.output import CliError, error_line, progress


def output_paths(
    inputs: Sequence[Path], output: Path | None, output_dir: Path | None, suffix: str
) -> list[Path]:
    """The output of each input: as named, in the folder, or beside it with another suffix.

    Raises:
        click.UsageError: the options contradict each other or the number of inputs.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if output is not None:
        if len(inputs) > 1:
            raise click.UsageError("-o names one file; for several inputs use --output-dir DIR")
        return [output]
    return [(output_dir or path.parent) / f"{path.stem}{suffix}" for path in inputs]


def run_batch(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    work: Callable[[Path, Path], None],
    label: str,
) -> None:
    """Do `work` on each pair. Failures are reported as they come, and the others go on.

    Raises:
        click.exceptions.Exit: with code 1, if any failed.
    """
    failures, taken = 0, set[Path]()
    pairs = list(zip(inputs, outputs, strict=True))
    for source, target in progress(pairs, len(pairs), label):
        try:
            _refuse_clash(source, target, taken)
            work(source, target)
            taken.add(target)
        except CliError as error:
            failures += 1
            error_line(str(error))
        except OSError as error:
            failures += 1
            error_line(f"{source}: {error.strerror or error}")
        except (MemoryError, RuntimeError) as error:  # torch's way to run out of memory
            failures += 1
            error_line(f"{source}: {str(error).splitlines()[0] if str(error) else 'no memory'}")
    if failures and len(pairs) > 1:
        error_line(f"{failures} of {len(pairs)} files failed")
    if failures:
        raise click.exceptions.Exit(1)


def make_folder(folder: Path | None) -> None:
    """Make an output folder if it is named and missing.

    Raises:
        CliError: it cannot be made.
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CliError(f"{folder}: cannot be made: {error.strerror}") from error


def _refuse_clash(source: Path, target: Path, taken: set[Path]) -> None:
    if target in taken:
        raise CliError(f"{source}: its output {target} was just written for another input")
    if target.exists() and source.exists() and target.samefile(source):
        raise CliError(f"{source}: is also the output; name another with -o")
