"""Fitting a prior for a model: speech to tokens to a prior file, and what it is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

import bcdc
from bigcodec_cli.console.messages import CliError, error_line
from bigcodec_cli.console.progress import seconds_bar
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models.codec import Codec
from bigcodec_models.data.index import Clip, scan, split
from bigcodec_models.errors import DataError
from bigcodec_models.prior import FitConfig, FitReport, fit_prior
from bigcodec_models.prior.dataset import token_sequences

Sequences = list[npt.NDArray[np.int64]]
HELD_OUT = 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorData:
    """Token sequences (T, K): those to fit to, and those of other speakers to measure on."""

    fitted: Sequences
    held_out: Sequences


def gather(codec: Codec, folders: Sequence[Path], versions: int) -> PriorData:
    """Tokens of all speech below folders; each clip that is fitted to in `versions` versions.

    Raises:
        CliError: a folder is missing or has no audio.
    """

    def unreadable(path: Path, reason: str) -> None:
        error_line(f"{path}: left out: {reason}")

    try:
        parts = [split(scan(folder, None, unreadable), HELD_OUT) for folder in folders]
    except DataError as error:
        raise CliError(str(error)) from error
    fitted = [clip for part, _ in parts for clip in part]
    held_out = [clip for _, part in parts for clip in part]
    seconds = sum(clip.seconds for clip in fitted) * versions
    seconds += sum(clip.seconds for clip in held_out)
    with seconds_bar(seconds, "encoding") as advance:

        def encoded(clips: list[Clip], version: int) -> Sequences:
            found: Sequences = []
            for clip, tokens in token_sequences(
                codec, clips, version, lambda e: error_line(f"{e}; left out")
            ):
                found.append(tokens)
                advance(clip.seconds)
            return found

        sequences = [tokens for k in range(versions) for tokens in encoded(fitted, k)]
        return PriorData(fitted=sequences, held_out=encoded(held_out, 0))


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


def measured(prior: bcdc.Prior, sequences: Sequences) -> dict[str, float]:
    """Bits a token of payload for each coder, on sequences (T, K) as files of their own."""
    header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=prior.geometry)
    found: dict[str, float] = {}
    for coder in bcdc.usable_coders(prior):
        bits = tokens = 0
        for sequence in sequences:
            file = BytesIO()
            with bcdc.Writer(file, bcdc.header_for(header, coder, prior), prior) as writer:
                writer.write(sequence[None])
                writer.finish(len(sequence) * prior.geometry.hop)
            bits += 8 * bcdc.read(file.getvalue()).payload_bytes
            tokens += sequence.size
        found[coder.name.lower()] = bits / tokens if tokens else 0.0
    return found
