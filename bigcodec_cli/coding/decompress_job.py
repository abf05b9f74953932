"""One file being restored: verified, decoded, written, and given its name."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import bcdc
from bcdc.recover import Restored, salvage
from bigcodec_cli.audio.channels import SampleSink, Silence
from bigcodec_cli.audio.pcm import Encoding
from bigcodec_cli.audio.writer import AudioForm, AudioSink, copy_to_stdout, open_sink
from bigcodec_cli.coding.decompressor import Decompressor, decode_part
from bigcodec_cli.coding.scheduler import FAULTS
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import seconds_bar
from bigcodec_cli.files.atomic import AtomicOutput
from bigcodec_cli.files.batch import Batch, make_folder
from bigcodec_cli.files.containers import TokenSource, read_bytes, token_stretches
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_models.codec import Codec

_SHORT_SECONDS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecompressSettings:
    """What holds for all files of a `decompress`. `start` and `duration` are in seconds."""

    codecs: CodecCache
    kind: str
    encoding: Encoding
    start: float = 0.0
    duration: float | None = None
    recover: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of every file is wanted."""
        return self.start == 0 and self.duration is None


class DecompressTask:
    """A task for the pool; see `scheduler.Task`.

    Raises:
        CliError: the input is no good container, or the output cannot be made.
    """

    def __init__(self, job: Job, settings: DecompressSettings, batch: Batch) -> None:
        self.job, self._settings, self._batch = job, settings, batch
        container, prior = _open(job, settings.recover)
        self._damage = container if isinstance(container, Restored) else None
        self.codec: Codec = settings.codecs.codec_for(Path(job.name), container)
        self._first, self._last = _span(container, settings, job)
        self._output: AtomicOutput | None = None
        self._spool: Path | None = None
        with contextlib.ExitStack() as stack, _naming(job):
            seconds = (self._last - self._first) / container.header.sample_rate
            alone = len(batch.jobs) == 1 and batch.options.progress and not batch.options.quiet
            progress = stack.enter_context(seconds_bar(seconds, job.name, alone))
            self._sink = self._open_output(stack, container)
            sink: SampleSink = self._sink
            if self._damage is not None:
                sink = Silence(sink, _lost_samples(self._damage))
            span = None if settings.whole else (self._first, self._last)
            self._coder = Decompressor(container, sink, progress, span, prior)
            self._seconds = seconds
            self._stack = stack.pop_all()

    @property
    def sources(self) -> list[Iterator[bcdc.Tokens]]:
        """Tokens, a channel each."""
        return self._coder.sources

    @property
    def alone(self) -> bool:
        """Whether the channels must keep pace: what one has given is held for the others."""
        return self._coder.channels > 1 and self._seconds > _SHORT_SECONDS

    @property
    def short(self) -> bool:
        """Side by side only if it is asked for."""
        return False

    @property
    def share(self) -> float:
        """A task is finished by itself: little would be gained by others beside it."""
        return 1

    def take(self, channel: int, data: Any) -> None:
        """Write a channel's next samples."""
        with _naming(self.job):
            self._coder.take(channel, data)

    def decode_part(self) -> None:
        """Decode the part that is wanted, without the pool."""
        with _naming(self.job):
            decode_part(self._coder, self.codec)
        self._complete()

    def finish(self) -> None:
        """Complete the audio and give it its name."""
        with _naming(self.job):
            self._coder.finish()
        self._complete()

    def discard(self) -> None:
        """Close and remove everything unfinished."""
        self._stack.close()

    def _complete(self) -> None:
        with _naming(self.job):
            self._sink.finish()
            if self._output is not None:
                self._commit(self._output)
            elif self._spool is not None:
                copy_to_stdout(self._spool)
            self._stack.close()
        if self._damage is not None:
            self._batch.failed(self.job, *_describe(self._damage, self.job))
            return
        words = f"{self.job.name}: {self._seconds:.2f} s to {self.job.target_name}"
        self._batch.succeeded(self.job, words, seconds=self._seconds)

    def _open_output(self, stack: contextlib.ExitStack, container: TokenSource) -> AudioSink:
        header, target = container.header, self.job.target
        form = AudioForm(
            kind=self._settings.kind,
            encoding=self._settings.encoding,
            rate=header.sample_rate,
            channels=header.channels,
            frames=self._last - self._first,
            tags=header.tags,
        )
        path: Path | None = None
        if target is not None:
            make_folder(target.parent)
            self._output = AtomicOutput(target, overwrite=self._batch.options.force)
            stack.callback(self._output.discard)
            path = self._output.temporary
        elif form.kind in ("flac", "ogg"):
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "output"
            self._spool = path
        sink = open_sink(path, form)
        stack.callback(sink.close)
        return sink

    def _commit(self, output: AtomicOutput) -> None:
        source = self.job.source
        like = source.stat() if source is not None and source.is_file() else None
        remove = self._batch.options.remove and source is not None
        output.commit(like=like, durable=remove)
        if remove and source is not None:
            source.unlink()


def open_tasks(
    jobs: Iterator[Job], settings: DecompressSettings, batch: Batch
) -> Iterator[DecompressTask]:
    """A task for each job that can be opened; the others are told to the batch as failed."""
    for job in jobs:
        try:
            yield DecompressTask(job, settings, batch)
        except BrokenPipeError:
            raise
        except FAULTS as error:
            batch.failed(job, error)


def decode_parts(jobs: Iterator[Job], settings: DecompressSettings, batch: Batch) -> None:
    """Decode the wanted part of each file, one file after the other."""
    for job in jobs:
        with contextlib.ExitStack() as stack:
            try:
                task = DecompressTask(job, settings, batch)
                stack.callback(task.discard)
                task.decode_part()
            except BrokenPipeError:
                raise
            except FAULTS as error:
                batch.failed(job, error)


def _open(job: Job, recover: bool) -> tuple[TokenSource, bcdc.Prior | None]:
    """The tokens of an input, and the prior that they still need."""
    data = read_bytes(job.source, check=not recover)
    if not recover:
        try:
            container = bcdc.read(data)
        except (bcdc.CorruptError, bcdc.TruncatedError) as error:
            raise CliError(f"{job.name}: {error}; --recover restores what is whole") from error
        return container, prior_of_container(container)
    try:
        container = bcdc.read(data)
        prior = prior_of_container(container)
        for _ in token_stretches(container, prior):
            pass
        return container, prior
    except bcdc.BcdcError:
        found = salvage(data)
        return found.decode(prior_of_container(found)), None


def _lost_samples(damage: Restored) -> list[tuple[int, int]]:
    """Ranges of samples that are gone, at the rate of the recording."""
    header = damage.header
    per_frame = Fraction(header.geometry.hop * header.sample_rate, bcdc.MODEL_RATE)
    return [
        (int(start * per_frame), min(-int(-stop * per_frame // 1), damage.num_samples))
        for start, stop in damage.lost
    ]


def _describe(damage: Restored, job: Job) -> tuple[CliError, dict[str, Any]]:
    """What is lost, in words and as facts."""
    rate = damage.header.sample_rate
    lost = [(start / rate, stop / rate) for start, stop in _lost_samples(damage)]
    gone = sum(stop - start for start, stop in lost)
    where = ", ".join(f"{start:.2f}-{stop:.2f}" for start, stop in lost) or "none"
    words = (
        f"{job.name}: damaged; {damage.seconds:.2f} s written to {job.target_name}, "
        f"{gone:.2f} s of them silence for what is lost (seconds {where})"
    )
    return CliError(words), {"lost_seconds": lost, "seconds": damage.seconds}


def _span(container: TokenSource, settings: DecompressSettings, job: Job) -> tuple[int, int]:
    """The samples that are wanted: nearest to the times asked for."""
    rate, total = container.header.sample_rate, container.num_samples
    first = round(settings.start * rate)
    if first > total:
        raise CliError(f"{job.name}: is {container.seconds:.3f} s long; --start lies beyond that")
    if settings.duration is None:
        return first, total
    return first, min(total, round((settings.start + settings.duration) * rate))


@contextlib.contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Failures told with the names of the files."""
    try:
        yield
    except BrokenPipeError:
        raise
    except bcdc.BcdcError as error:
        raise CliError(f"{job.name}: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise CliError(f"{job.name}: cannot write {job.target_name}: {reason}") from error
