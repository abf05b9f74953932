"""Blocks of samples on their way through the commands: split into channels and joined again."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""Samples (channels, n), or one channel's (n,); full scale is 1.0."""


class SampleSink(Protocol):
    """Where samples (channels, n) go."""

    def write(self, samples: Samples) -> None:
        """Take samples."""


_Array = TypeVar("_Array", bound=npt.NDArray[Any])


def split_channels(blocks: Iterable[_Array], channels: int) -> list[Iterator[_Array]]:
    """One iterator a channel over blocks (channels, n, ...), giving (n, ...).

    Only what one channel has taken and another has not is held.
    """

    def one(shared: Iterator[_Array], channel: int) -> Iterator[_Array]:
        return (block[channel] for block in shared)

    return [one(shared, c) for c, shared in enumerate(itertools.tee(blocks, channels))]


class ChannelJoiner:
    """Pieces (n, ...) of several channels, arriving in any order, as blocks (channels, n, ...)."""

    def __init__(self, channels: int) -> None:
        self._queues = [collections.deque[npt.NDArray[Any]]() for _ in range(channels)]
        self._counts = [0] * channels

    def push(self, channel: int, piece: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Take a channel's next piece; gives what every channel now has, if anything."""
        if len(piece):
            self._queues[channel].append(piece)
            self._counts[channel] += len(piece)
        ready = min(self._counts)
        if not ready:
            return None
        return np.stack([self._take(c, ready) for c in range(len(self._queues))])

    def _take(self, channel: int, count: int) -> npt.NDArray[Any]:
        queue = self._queues[channel]
        self._counts[channel] -= count
        parts: list[npt.NDArray[Any]] = []
        while count:
            part = queue.popleft()
            if len(part) > count:
                queue.appendleft(part[count:])
                part = part[:count]
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def fit(samples: Samples, length: int) -> Samples:
    """The first `length` samples of the last axis, zeros where there are fewer."""
    missing = max(0, length - samples.shape[-1])
    widths = [(0, 0)] * (samples.ndim - 1) + [(0, missing)]
    fitted: Samples = np.pad(samples[..., :length], widths)
    return fitted


class Discard:
    """A sink for samples that nobody wants."""

    def write(self, samples: Samples) -> None:
        """Take samples."""


class Silence:
    """A sink that puts silence into ranges of samples on their way to another sink."""

    def __init__(self, sink: SampleSink, ranges: Sequence[tuple[int, int]]) -> None:
        self._sink, self._ranges, self._at = sink, ranges, 0

    def write(self, samples: Samples) -> None:
        """Take samples (channels, n)."""
        silenced = samples.copy()
        for start, stop in self._ranges:
            silenced[:, max(0, start - self._at) : max(0, stop - self._at)] = 0
        self._at += samples.shape[1]
        self._sink.write(silenced)


class Repeated:
    """A sink that gives a recording of `channels` channels to another one: where it takes one
    channel, as many that are equal."""

    def __init__(self, sink: SampleSink, channels: int) -> None:
        self._sink, self._channels = sink, channels

    def write(self, samples: Samples) -> None:
        """Take samples (channels, n), or (1, n)."""
        self._sink.write(np.broadcast_to(samples, (self._channels, samples.shape[1])))


def are_equal(samples: Samples) -> bool:
    """Whether all channels of samples (channels, n) are."""
    return bool((samples == samples[:1]).all())
