"""What containers are made of: recordings as the entropy coder sees them, by their source."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import bcdc
from bcdc.header import MAX_COPIES
from bcdc.tokens import check_tokens
from bigcodec_cli.audio.channels import Samples, Store, are_equal, in_memory, split_channels
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.audio.resampling import resample_stream
from bigcodec_cli.coding.pace import Pace, pace_of, store_for
from bigcodec_cli.console.messages import CliError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording to be coded.

    `header` says what the container's will say, but for the coder. `sources` holds an iterator for
    each channel of samples (n,) at the model's rate, which it makes tokens of; or there are none,
    but `tokens` (channels, frames, codebooks). `samples` gives how many were read so far, of each
    channel at the recording's rate. `seconds` is None where the length is not known beforehand.
    `fault`, asked at the end, says why it is not all of the recording, None if it is; `doubt` says
    why nobody can tell, None if `fault` does. `pace` is that of the sources, and `store` keeps what
    one channel has and others do not have yet.
    """

    header: bcdc.Header
    sources: Sequence[Iterator[Samples]] = ()
    tokens: bcdc.Tokens | None = None
    samples: Callable[[], int]
    seconds: float | None
    fault: Callable[[], str | None] = lambda: None
    doubt: str | None = None
    pace: Pace = Pace.FREE
    store: Store = in_memory


def recording_of_audio(
    audio: AudioInput,
    fingerprint: bytes,
    geometry: bcdc.Geometry,
    stack: contextlib.ExitStack,
    downmix: bool = False,
    equal: bool = False,
) -> Recording:
    """A recording of an audio file, for a model by fingerprint and the geometry of its tokens.

    With `equal` all channels are known to be equal, and one is coded for all. What there is to
    close goes into `stack`.

    Raises:
        ValueError: more channels or a higher rate than a container can hold, or tags too long.
    """
    channels = 1 if downmix or equal else audio.channels
    header = bcdc.Header(
        fingerprint=fingerprint[:6],
        sample_rate=audio.rate,
        channels=channels,
        geometry=geometry,
        tags=audio.tags,
        copies=audio.channels - 1 if equal and not downmix else 0,
    )
    counted = _Counted(audio.blocks)
    blocks = iter(counted)
    if downmix and audio.channels > 1:
        blocks = _downmixed(counted)
    elif equal:
        blocks = _first_channel(counted, audio.name)
    pace = pace_of(channels, audio.rate, audio.seconds)
    store = store_for(pace, audio.name, stack)
    waves = split_channels(blocks, channels, store)
    return Recording(
        header=header,
        sources=[_resampled(wave, audio.rate) for wave in waves],
        samples=lambda: counted.samples,
        seconds=audio.seconds,
        fault=audio.fault,
        doubt=audio.doubt,
        pace=pace,
        store=store,
    )


def may_be_equal(channels: int) -> bool:
    """Whether so many channels could be coded as one, if they are equal."""
    return 1 < channels <= MAX_COPIES + 1


def recording_of_tokens(
    header: bcdc.Header, tokens: npt.NDArray[np.integer[Any]], samples: int
) -> Recording:
    """A recording whose tokens (channels, frames, codebooks) are there already.

    Raises:
        TypeError, ValueError: see `check_tokens`.
    """
    return Recording(
        header=header,
        tokens=check_tokens(tokens, header.geometry, header.channels),
        samples=lambda: samples,
        seconds=samples / header.sample_rate,
    )


def _resampled(waves: Iterable[Samples], rate: int) -> Iterator[Samples]:
    """One channel's samples (n,) at the model's rate."""
    for piece in resample_stream((wave[None] for wave in waves), rate, bcdc.MODEL_RATE):
        yield piece[0]


class _Counted:
    """Blocks (channels, n), and how many samples of each channel were taken so far."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.samples += block.shape[1]
            yield block


def _downmixed(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """The mean of the channels: blocks (channels, n) to (1, n)."""
    for block in blocks:
        yield block.mean(axis=0, keepdims=True, dtype=np.float32)


def _first_channel(blocks: Iterable[Samples], name: str) -> Iterator[Samples]:
    """Blocks (channels, n) of equal channels as (1, n)."""
    for block in blocks:
        if not are_equal(block):
            raise CliError(f"{name}: changed while it was read")
        yield block[:1]
