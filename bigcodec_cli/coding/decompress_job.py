"""One container being restored as audio: decoded, written, and given its name."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import bcdc
from bcdc.recover import Restored, salvage
from bigcodec_cli.audio.channels import SampleSink, Silence
from bigcodec_cli.audio.writer import AudioForm, AudioSink, copy_to_stdout, open_sink
from bigcodec_cli.coding.config import DecompressConfig
from bigcodec_cli.coding.decompressor import Decompressor, decode_part
from bigcodec_cli.coding.file_job import FileJob
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.containers import TokenSource, read_bytes, token_stretches
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_models.codec import Codec

_SHORT_SECONDS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Input:
    """An opened container: its tokens, the prior that they need, and what is lost of them."""

    container: TokenSource
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
        opened = _open(job, config.recover)
        container, self._damage = opened.container, opened.damage
        self.codec: Codec = codecs.codec_for(Path(job.name), container)
        first, last = _span(container, config, job)
        self._seconds = (last - first) / container.header.sample_rate
        with self.opening():
            self._sink = self._open_sink(config, container.header, last - first)
            sink: SampleSink = self._sink
            if self._damage is not None:
                sink = Silence(sink, _lost_samples(self._damage))
            progress = self.stack.enter_context(reporter.seconds_bar(job, self._seconds))
            self._everything = config.whole
            span = None if config.whole else (first, last)
            self._decompressor = Decompressor(container, sink, progress, span, opened.prior)

    @property
    def sources(self) -> list[Iterator[bcdc.Tokens]]:
        """Tokens (n, codebooks), an iterator for each channel; none where only a part is asked for,
        which `finish` decodes by itself."""
        return self._decompressor.sources if self._everything else []

    @property
    def lockstep(self) -> bool:
        """Whether the channels must keep pace: what one has given is held for the others."""
        return self._decompressor.channels > 1 and self._seconds > _SHORT_SECONDS

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
                decode_part(self._decompressor, self.codec)
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
            channels=header.channels,
            frames=frames,
            tags=header.tags,
        )
        path, self._spool = self.create_output(), None
        if path is None and form.kind in ("flac", "ogg"):
            path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "output"
            self._spool = path
        sink = open_sink(path, form)
        self.stack.callback(sink.close)
        return sink


def _open(job: Job, recover: bool) -> _Input:
    """The tokens of an input; with `recover`, those that are left of a damaged one."""
    data = read_bytes(job.source, check=not recover)
    try:
        container = bcdc.read(data)
        prior = prior_of_container(container)
        if recover:
            for _ in token_stretches(container, prior):
                pass
        return _Input(container=container, prior=prior)
    except bcdc.BcdcError as error:
        if recover:
            rest = salvage(data)
            restored = rest.decode(prior_of_container(rest))
            return _Input(container=restored, prior=None, damage=restored)
        damaged = isinstance(error, bcdc.CorruptError | bcdc.TruncatedError)
        hint = "; --recover restores what is whole" if damaged else ""
        raise CliError(f"{job.name}: {error}{hint}") from error


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
    where = ", ".join(f"{start:.2f}-{stop:.2f}" for start, stop in lost) or "none"
    message = (
        f"{job.name}: damaged; {damage.seconds:.2f} s written to {job.target_name}, "
        f"{gone:.2f} s of them silence for what is lost (seconds {where})"
    )
    return CliError(message), {"lost_seconds": lost, "seconds": damage.seconds}


def _span(container: TokenSource, config: DecompressConfig, job: Job) -> tuple[int, int]:
    """The samples that are asked for: nearest to the times given."""
    rate, total = container.header.sample_rate, container.num_samples
    first = round(config.start * rate)
    if first > total:
        raise CliError(f"{job.name}: is {container.seconds:.3f} s long; --start lies beyond that")
    if config.duration is None:
        return first, total
    return first, min(total, round((config.start + config.duration) * rate))
