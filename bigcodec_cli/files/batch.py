"""Many files in one command: which to do, failures that do not stop the rest, the summary."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bigcodec_cli.console.interrupts import prompt_interrupts
from bigcodec_cli.console.messages import CliError, error_line, note
from bigcodec_cli.console.progress import Advance, BatchBar, batch_bar, seconds_bar
from bigcodec_cli.files.atomic import discard_all, is_device, refuse_existing
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Facts, explain_failure
from bigcodec_cli.files.totals import Totals, size_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How output files replace others, and whether inputs are removed once they are coded."""

    force: bool = False
    remove: bool = False
    mark: str = ""  # of temporary files; see `AtomicOutput`


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How a command treats its files, and what it prints."""

    outputs: OutputOptions = OutputOptions()
    skip_existing: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True


class Batch:
    """The jobs of one command: gives those to be done, and reports how each went. `shared` is the
    one output of all, if they share one; `left_out` a line on what is not among them."""

    def __init__(
        self,
        jobs: Sequence[Job],
        options: BatchOptions,
        label: str,
        shared: Path | None = None,
        left_out: str | None = None,
    ) -> None:
        self.jobs, self.options, self._label = jobs, options, label
        self._shared, self._left_out = shared, left_out
        self._taken: dict[Path, Job] = {}  # names of outputs, and whose they are
        self._failures: list[int] = []
        self._numbers = {id(job): number for number, job in enumerate(jobs)}
        self._rows: dict[int, str] = {}  # of jobs that end before one that comes before them
        self._next_row = 0
        self._skipped = 0
        self._totals = Totals(shared)
        self._bar = BatchBar(None, len(jobs))
        self._weights = {id(job): _weight(job) for job in jobs}  # what is left of each

    def run(self, work: Callable[[Iterator[Job]], None], *, prompt: bool = True) -> None:
        """Hand the jobs to `work`, with a bar over them; then print the summary.

        Where none is left to be done, as all are refused or skipped, `work` is not called: it may
        load what takes its time.

        With `prompt` a signal ends the process soon, wherever it is; see `prompt_interrupts`.

        Raises:
            click.exceptions.Exit: with code 1, if any failed.
        """
        options = self.options
        with (
            prompt_interrupts(discard_all) if prompt else contextlib.nullcontext(),
            batch_bar(
                sum(self._weights.values()),
                len(self.jobs),
                self._label,
                options.progress and not options.quiet,
            ) as self._bar,
        ):
            try:
                pending = self._pending()
                first = next(pending, None)
                if first is not None:
                    work(itertools.chain([first], pending))
            finally:
                for _, row in sorted(self._rows.items()):
                    click.echo(row)
        self._summary()

    @property
    def writes_stdout(self) -> bool:
        """Whether data go to standard output."""
        return any(job.target is None for job in self.jobs)

    def succeeded(self, job: Job, summary: str, **facts: Any) -> None:
        """See `Reporter`."""
        self._complete(job)
        self._totals.add(job, facts.get("seconds") or 0.0, facts.get("model"))
        self._add_row(job, "ok", **facts)
        if self.options.verbose or (len(self.jobs) == 1 and not self.options.quiet):
            note(summary)

    def failed(self, job: Job, error: BaseException, facts: Facts | None = None) -> None:
        """See `Reporter`."""
        message = explain_failure(job, error)
        target = _resolved(job.target)
        if self._taken.get(target) is job and not os.path.lexists(target):
            del self._taken[target]
        self._complete(job)
        self._failures.append(self._numbers[id(job)])
        self._add_row(job, "failed", error=message, **(facts or {}))
        error_line(message)

    def remark(self, text: str) -> None:
        """See `Reporter`."""
        if not self.options.quiet:
            note(text)

    def seconds_bar(self, job: Job, seconds: float) -> contextlib.AbstractContextManager[Advance]:
        """A bar over the audio of a command's only file; of several, their common bar moves."""
        options = self.options
        if len(self.jobs) == 1:
            return seconds_bar(seconds, job.name, options.progress and not options.quiet)
        share = self._weights[id(job)] / seconds if seconds else 0.0

        def advance(done: float) -> None:
            weight = min(done * share, self._weights[id(job)])
            self._weights[id(job)] -= weight
            self._bar.advance(weight, done)

        return contextlib.nullcontext(advance)

    def _complete(self, job: Job) -> None:
        """A job is at its end: move the bar by what is left of it."""
        self._bar.advance(self._weights[id(job)], files=1)
        self._weights[id(job)] = 0.0

    def _pending(self) -> Iterator[Job]:
        for job in self.jobs:
            try:
                skip = self._check(job)
            except (CliError, OSError) as error:
                self.failed(job, error)
                continue
            if skip:
                self._skipped += 1
                self._complete(job)
                self._add_row(job, "skipped")
                if self.options.verbose:
                    note(f"{job.name}: {job.target_name} exists; skipped")
            else:
                self._totals.begin(job)
                yield job

    def _check(self, job: Job) -> bool:
        """Whether a job is to be skipped; refuses what is known to fail before anything is read,
        and those whose output would hurt another file."""
        if self._shared is not None:  # whoever writes it must learn of every input
            return False
        if job.source is not None and not os.path.lexists(job.source):
            raise CliError(f"{job.name}: no such file")
        if job.source is not None and job.source.is_dir():
            raise CliError(f"{job.name}: is a folder; use -r for the files in it")
        if job.target is None:
            return False
        if is_device(job.target):
            if self.options.outputs.remove:
                raise CliError(f"{job.target}: is no file, so that --rm would lose {job.name}")
            return False
        target = _resolved(job.target)
        if target in self._taken:
            raise CliError(f"{job.name}: its output {job.target} belongs to another input already")
        if job.source is not None and job.target.exists() and job.source.exists():
            if job.target.samefile(job.source):
                raise CliError(f"{job.name}: is also the output; name another with -o")
        if job.source is None or job.source.exists():
            self._taken[target] = job
        if self.options.skip_existing and os.path.lexists(job.target):
            return True
        if job.target.is_dir():
            raise CliError(f"{job.target}: is a folder; name a file, or use --output-dir")
        refuse_existing(job.target, self.options.outputs.force)
        return False

    def _add_row(self, job: Job, status: str, **facts: Any) -> None:
        """A row of JSON; they come in the order of the inputs, whichever ends first."""
        if not self.options.as_json:
            return
        row = {"input": job.name, "output": job.target_name, "status": status, **facts}
        self._rows[self._numbers[id(job)]] = json.dumps(row)
        while self._next_row in self._rows:
            click.echo(self._rows.pop(self._next_row))
            self._next_row += 1

    def _summary(self) -> None:
        if self._left_out is not None:
            self.remark(self._left_out)
        if self._skipped and not self.options.quiet:
            note(f"{self._skipped} of {len(self.jobs)} files skipped: their outputs exist")
        if len(self.jobs) > 1:
            self._print_totals()
        if self._failures and len(self.jobs) > 1:
            error_line(f"{len(self._failures)} of {len(self.jobs)} files failed:")
            for number in sorted(self._failures):
                error_line(f"  {self.jobs[number].name}")
        if self._failures:
            raise click.exceptions.Exit(1)

    def _print_totals(self) -> None:
        if self.options.as_json:
            counts = {"failed": len(self._failures), "skipped": self._skipped}
            click.echo(json.dumps({"total": self._totals.facts() | counts}))
        if self._totals.files and not self.options.quiet:
            note(
                self._totals.line(
                    to_container=any(
                        job.target is not None and job.target.suffix == ".bcdc" for job in self.jobs
                    )
                )
            )


def _weight(job: Job) -> float:
    """How much of a batch a job is: the size of its file, as its length is not known yet."""
    return 1.0 + (0 if job.source is None else size_of(job.source))


def _resolved(path: Path | None) -> Path:
    """A path by which the same file in the same folder is known, however it was spelled."""
    return Path() if path is None else path.parent.resolve() / path.name


def check_stdout(batch: Batch) -> None:
    """Refuse to mix data with anything else on stdout, and binary data on a terminal.

    Raises:
        click.UsageError: data would go there.
    """
    if not batch.writes_stdout:
        return
    if batch.options.as_json:
        raise click.UsageError("--json and the output would both go to stdout; use -o FILE")
    if sys.stdout.isatty():
        raise click.UsageError("refusing to write binary data to a terminal; use -o FILE or a pipe")


def make_folder(folder: Path) -> None:
    """Make an output folder if it is missing.

    Raises:
        CliError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"{folder}: cannot be made: {error.strerror}") from error
