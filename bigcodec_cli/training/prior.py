"""Fitting a prior for a model: speech to tokens to a prior file, and what it is worth."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

import bcdc
from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.compress_files import compress_files
from bigcodec_cli.console.messages import CliError, error_line
from bigcodec_cli.console.progress import seconds_bar
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.containers import open_container
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Outcome, Outcomes, note_unread
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models.codec import Codec
from bigcodec_models.data.crops import read_mono
from bigcodec_models.data.index import Clip, name_hash, scan, split
from bigcodec_models.errors import DataError, UnreadableError
from bigcodec_models.prior import FitConfig, FitReport, fit_prior
from bigcodec_models.prior.dataset import vary

Sequences = list[npt.NDArray[np.int64]]
HELD_OUT = 0.03
_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorData:
    """Token sequences (T, K): those to fit to, and those of other speakers to measure on."""

    fitted: Sequences
    held_out: Sequences


def gather(encoder: AudioEncoder, folders: Sequence[Path], versions: int) -> PriorData:
    """Tokens of all speech below folders; each clip that is fitted to in `versions` versions.

    Raises:
        CliError: a folder is missing or has no audio.
    """

    try:
        parts = [split(scan(folder, None, note_unread), HELD_OUT) for folder in folders]
    except DataError as error:
        raise CliError(str(error)) from error
    fitted = [clip for part, _ in parts for clip in part]
    held_out = [clip for _, part in parts for clip in part]
    seconds = sum(clip.seconds for clip in fitted) * versions
    seconds += sum(clip.seconds for clip in held_out)
    with seconds_bar(seconds, "encoding") as advance:

        def encoded(clips: list[Clip], version: int) -> Sequences:
            sequences: Sequences = []
            for clip, tokens in token_sequences(encoder, clips, version):
                sequences.append(tokens)
                advance(clip.seconds)
            return sequences

        sequences = [tokens for k in range(versions) for tokens in encoded(fitted, k)]
        return PriorData(fitted=sequences, held_out=encoded(held_out, 0))


def token_sequences(
    encoder: AudioEncoder, clips: Sequence[Clip], version: int = 0
) -> Iterator[tuple[Clip, npt.NDArray[np.int64]]]:
    """Clips, and the tokens (T, K) of each as `compress` makes them, in an order by their names.

    Version 0 is the recording itself, the others are those of `vary`. Clips that cannot be read
    are left out with a line on stderr.
    """
    ordered = sorted(clips, key=lambda clip: name_hash(clip.name))
    for start in range(0, len(ordered), _AT_ONCE):
        some = ordered[start : start + _AT_ONCE]
        with tempfile.TemporaryDirectory() as folder:
            jobs = list(_jobs(some, version, encoder.codec.hop, Path(folder)))
            reporter = Outcomes(_report_failure)
            compress_files((job for _, job in jobs), encoder, OutputOptions(), reporter)
            for clip, job in jobs:
                if job.target is not None and job.target.exists():
                    yield clip, open_container(job.target).tokens()[0].astype(np.int64)


class _ClipJob(Job):
    """A clip to be encoded into a temporary file, of which nobody needs to know."""

    @property
    def target_name(self) -> str:
        return "the tokens"


def _jobs(
    clips: Sequence[Clip], version: int, hop: int, folder: Path
) -> Iterator[tuple[Clip, Job]]:
    """What is to be coded of each clip, and where the container goes."""
    for number, clip in enumerate(clips):
        source = clip.path
        if version:
            source = folder / f"{number}.wav"
            try:
                wave = vary(read_mono(clip), hop, version, clip.name)
            except UnreadableError as error:
                error_line(f"{error}; left out")
                continue
            soundfile.write(source, wave, bcdc.MODEL_RATE, subtype="FLOAT")
        yield clip, _ClipJob(source, folder / f"{number}.bcdc")


def _report_failure(outcome: Outcome) -> None:
    if outcome.error is None:
        return
    target = outcome.job.target
    is_used = target is not None and target.exists()  # it was cut short: see `CompressJob`
    error_line(f"{outcome.error}; {'used as far as it goes' if is_used else 'left out'}")


def fitted_file(
    codec: Codec,
    codes: Sequence[npt.NDArray[np.float32]],
    data: PriorData,
    config: FitConfig,
    report: Callable[[FitReport], None],
) -> bytes:
    """The bytes of a prior file fitted to tokens of a model with codebooks `codes`, (size, d)
    each.

    Raises:
        CliError: there are no tokens.
    """
    try:
        fitted = fit_prior(data.fitted, data.held_out, codes, config, report)
    except ValueError as error:
        raise CliError(str(error)) from error
    shape = bcdc.PriorShape(
        model=codec.fingerprint[:6],
        geometry=geometry_of(codec),
        inputs=fitted.arrays["embedding"].shape[1],
        width=config.network.width,
        hidden=config.network.hidden,
    )
    return bcdc.write_prior(shape, fitted.arrays)


def bits_per_token_of(prior: bcdc.Prior, sequences: Sequences) -> dict[str, float]:
    """Bits a token of payload for each coder, on sequences (T, K) as files of their own."""
    header = bcdc.Header(
        fingerprint=prior.model, sample_rate=bcdc.MODEL_RATE, geometry=prior.geometry
    )
    bits_per_token: dict[str, float] = {}
    for coder in bcdc.usable_coders(prior):
        bits = tokens = 0
        coded = bcdc.header_for(header, coder, prior)
        for sequence in sequences:
            samples = len(sequence) * prior.geometry.hop
            data = bcdc.write(coded, sequence[None], samples, prior)
            bits += 8 * bcdc.read(data).payload_bytes
            tokens += sequence.size
        bits_per_token[coder.name.lower()] = bits / tokens if tokens else 0.0
    return bits_per_token
