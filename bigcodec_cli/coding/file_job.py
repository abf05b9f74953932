"""One input that becomes one output, whatever is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_output
from bigcodec_cli.files.atomic import AtomicOutput, DeviceOutput, SourceFile, is_device
from bigcodec_cli.files.batch import OutputOptions, make_folder
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter


class FileJob:
    """A job's output: created, given its name, or discarded.

    What is entered into `stack` is closed by `discard`, and when the output has its name.
    """

    def __init__(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> None:
        self.job, self.reporter, self.outputs = job, reporter, outputs
        self._source = None if job.source is None else SourceFile(job.source)
        self.stack = contextlib.ExitStack()
        self._output: AtomicOutput | DeviceOutput | None = None

    def create_output(self) -> Path | None:
        """Create the temporary output, after the input proved to be good; None is stdout.

        Raises:
            CliError: there cannot be such an output.
            OSError: there can be no file in its folder.
        """
        job = self.job
        if job.target is None:
            return None
        if is_device(job.target):
            self._output = DeviceOutput(job.target)
        else:
            make_folder(job.target.parent)
            self._output = AtomicOutput(
                job.target,
                overwrite=self.outputs.force,
                source=self._source,
                mark=self.outputs.mark,
            )
        self.stack.callback(self._output.discard)
        return self._output.temporary

    def create_binary(self) -> BinaryIO:
        """Create the output, to be written from its beginning.

        Raises:
            CliError, OSError: as `create_output` does.
        """
        temporary = self.create_output()
        if temporary is None:
            return standard_output()
        return self.stack.enter_context(temporary.open("wb"))

    @property
    def temporary(self) -> Path | None:
        """The output's file, until it has its name; None is stdout."""
        return None if self._output is None else self._output.temporary

    def commit(self, *, keep_source: bool = False) -> int | None:
        """Give the output its name, and remove the source if that was asked for, but for
        `keep_source`; returns the output's size in bytes, where it is a file."""
        if self._output is None:
            self.stack.close()
            return None
        size = self._output.temporary.stat().st_size
        remove = self.outputs.remove and not keep_source and self._source is not None
        self._output.commit(remove_source=remove)
        if remove and self._source is not None and not self._source.is_regular:
            self.reporter.remark(f"{self.job.name}: is no regular file, and was not removed")
        self.stack.close()
        return size

    def discard(self) -> None:
        """Close and remove everything unfinished. May be called at any time, also twice."""
        with contextlib.suppress(OSError):  # closing tries again to write, on a disk that is full
            self.stack.close()

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """For the rest of a subclass's `__init__`: what is open is closed if that fails."""
        try:
            with self.naming():
                yield
        except BaseException:
            self.discard()
            raise

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Gives errors the names of both files."""
        job = self.job
        try:
            yield
        except BrokenPipeError:
            raise
        except bcdc.BcdcError as error:
            raise CliError(f"{job.name}: {error}") from error
        except OSError as error:
            reason = error.strerror or error
            raise CliError(f"{job.name}: cannot write {job.target_name}: {reason}") from error
