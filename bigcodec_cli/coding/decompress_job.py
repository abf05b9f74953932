"""One container being restored as audio: decoded, written, and given its name."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

import bcdc
from bcdc.recover import Restored, salvage
from bigcodec_cli.audio.channels import Repeated, SampleSink, Silence
from bigcodec_cli.audio.writer import AudioForm, AudioSink, copy_to_stdout, is_streamed, open_sink
from bigcodec_cli.coding.config import DecompressConfig
from bigcodec_cli.coding.decompressor import Decompressor, decode_part
from bigcodec_cli.coding.file_job import FileJob
from bigcodec_cli.coding.pace import Pace, pace_of, store_for
from bigcodec_cli.console.messages import CliError, visible
from bigcodec_cli.files.atomic import temporary_folder
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.containers import (
    TokenSource,
    read_bytes,
    token_stretches,
    too_many_tokens,
    too_much_audio,
)
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_models.codec import Codec


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Input:
    """An opened container of `size` bytes: its tokens, the prior that they need, and what is lost
    of them."""

    container: TokenSource
    size: int
    prior: bcdc.Prior | None
    damage: Restored | None = None


class DecompressJob(FileJob):
    """A task of the scheduler that ends as an audio file; see `scheduler.Task`.

    Raises:
        CliError: the input is no good container, or the output cannot be made.
    """

    short = False
    batch_fraction = 1.0

    def __init__(
        self,
        job: Job,
        config: DecompressConfig,
        codecs: CodecCache,
        outputs: OutputOptions,
        reporter: Reporter,
    ) -> None:
        super().__init__(job, outputs, reporter)
        opened = _open(job, config)
        container, self._damage = opened.container, opened.damage
        self.codec: Codec = codecs.codec_for(Path(job.name), container)
        first, last = _span(container, config, job)
        _check_length(job, config, opened, last - first)
        self._seconds = (last - first) / container.header.sample_rate
        header = container.header
        with self.opening():
            self._sink = self._open_sink(config, header, last - first)
            sink: SampleSink = Repeated(self._sink, header.restored_channels)
            if self._damage is not None:
                sink = Silence(sink, _lost_samples(self._damage))
            progress = self.stack.enter_context(reporter.seconds_bar(job, self._seconds))
            self._everything = config.whole
            span = None if config.whole else (first, last)
            self._pace = pace_of(header.channels, header.sample_rate, self._seconds)
            store = store_for(self._pace, job.name, self.stack)
            self._decompressor = Decompressor(container, sink, progress, span, opened.prior, store)

    @property
    def sources(self) -> list[Iterator[bcdc.Tokens]]:
        """Tokens (n, codebooks), an iterator for each channel; none where only a part is asked for,
        which `finish` decodes by itself."""
        return self._decompressor.sources if self._everything else []

    @property
    def lockstep(self) -> bool:
        """Whether all channels go through the model together."""
        return self._pace is Pace.LOCKSTEP

    def take(self, channel: int, data: Any) -> None:
        """Write a channel's next samples."""
        with self.naming():
            self._decompressor.take(channel, data)

    def finish(self) -> None:
        """Complete the audio and give it its name."""
        with self.naming():
            if self._everything:
                self._decompressor.finish()
            else:
                decode_part(self._decompressor, self.codec, self._pace)
            self._sink.finish()
            if self._spool is not None:
                copy_to_stdout(self._spool)
            self.commit()
        if self._damage is not None:
            self.reporter.failed(self.job, *_describe(self._damage, self.job))
            return
        summary = f"{self.job.name}: {self._seconds:.2f} s to {self.job.target_name}"
        self.reporter.succeeded(self.job, summary, seconds=self._seconds)

    def _open_sink(self, config: DecompressConfig, header: bcdc.Header, frames: int) -> AudioSink:
        form = AudioForm(
            kind=config.kind,
            encoding=config.encoding,
            rate=header.sample_rate,
            channels=header.restored_channels,
            frames=frames,
            tags=header.tags,
        )
        path, self._spool = self.create_output(), None
        if path is None and not is_streamed(form.kind):
            path = self.stack.enter_context(temporary_folder()) / "output"
            self._spool = path
        sink = open_sink(path, form)
        self.stack.callback(sink.close)
        return sink


def _open(job: Job, config: DecompressConfig) -> _Input:
    """The tokens of an input; with `recover`, those that are left of a damaged one."""
    data = read_bytes(job.source, check=not config.recover)
    try:
        container = bcdc.read(data)
        prior = prior_of_container(container)
        if config.recover:
            reason = too_many_tokens(container.header, container.frames, len(data))
            _check_allowed(job, config, reason)
            for _ in token_stretches(container, prior):
                pass
        return _Input(container=container, size=len(data), prior=prior)
    except bcdc.BcdcError as error:
        if config.recover:
            restored = _restored(job, config, data, error)
            return _Input(container=restored, size=len(data), prior=None, damage=restored)
        damaged = isinstance(error, bcdc.CorruptError | bcdc.TruncatedError)
        hint = "; --recover restores what is whole" if damaged else ""
        raise CliError(f"{job.name}: {error}{hint}") from error


def _restored(job: Job, config: DecompressConfig, data: bytes, error: Exception) -> Restored:
    """What is left of a damaged container.

    Raises:
        CliError: nothing is.
    """
    rest = salvage(data)
    _check_allowed(job, config, too_many_tokens(rest.header, rest.whole_frames, len(data)))
    restored = rest.decode(prior_of_container(rest))
    if not restored.whole_frames:
        raise CliError(f"{job.name}: {error}; nothing of it can be restored")
    return restored


def _check_length(job: Job, config: DecompressConfig, opened: _Input, samples: int) -> None:
    """Few bytes may become gigabytes only if that was asked for.

    Raises:
        CliError: it was not.
    """
    header = opened.container.header
    reason = too_much_audio(header, samples, opened.size)
    if reason is None and opened.damage is None:
        frames = min(opened.container.frames, header.frames_of(samples))
        reason = too_many_tokens(header, frames, opened.size)
    _check_allowed(job, config, reason)


def _check_allowed(job: Job, config: DecompressConfig, reason: str | None) -> None:
    if reason is None or config.allow_long:
        return
    if _asked_at_a_terminal(job):
        question = visible(f"bigcodec: {job.name}: {reason}; decode it?")
        if click.confirm(question, err=True):
            return
    raise CliError(f"{job.name}: {reason}; if that is right, use --allow-long")


def _asked_at_a_terminal(job: Job) -> bool:
    """Whether a question would be read and could be answered."""
    return job.source is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _lost_samples(damage: Restored) -> list[tuple[int, int]]:
    """Ranges of samples that are gone, at the rate of the recording."""
    header = damage.header
    per_frame = Fraction(header.geometry.hop * header.sample_rate, bcdc.MODEL_RATE)
    return [
        (int(start * per_frame), min(-int(-stop * per_frame // 1), damage.num_samples))
        for start, stop in damage.lost
    ]


def _describe(damage: Restored, job: Job) -> tuple[CliError, dict[str, Any]]:
    """What is lost, as a message and as facts."""
    rate = damage.header.sample_rate
    lost = [(start / rate, stop / rate) for start, stop in _lost_samples(damage)]
    gone = sum(stop - start for start, stop in lost)
    message = f"{job.name}: damaged; {damage.seconds:.2f} s written to {job.target_name}"
    if lost:
        where = ", ".join(f"{start:.2f}-{stop:.2f}" for start, stop in lost)
        message += f", {gone:.2f} s of them silence for what is lost (seconds {where})"
    if not damage.has_trailer:
        message += "; the end is missing, and with it what may have followed"
    elif not lost:
        message += ", and nothing is lost"
    facts = {"lost_seconds": lost, "end_missing": not damage.has_trailer}
    return CliError(message), facts | {"seconds": damage.seconds}


def _span(container: TokenSource, config: DecompressConfig, job: Job) -> tuple[int, int]:
    """The samples that are asked for: nearest to the times given."""
    rate, total = container.header.sample_rate, container.num_samples
    first = round(config.start * rate)
    if first > total:
        raise CliError(f"{job.name}: is {container.seconds:.3f} s long; --start lies beyond that")
    if config.duration is None:
        return first, total
    return first, min(total, round((config.start + config.duration) * rate))
