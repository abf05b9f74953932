"""Blocks of samples on their way through the commands: split into channels and joined again."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
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


class Held(Protocol):
    """An array (n, ...), in memory or elsewhere."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...

    def __array__(self, *arguments: Any, **options: Any) -> npt.NDArray[Any]: ...


Store = Callable[[npt.NDArray[Any]], Held]
"""Puts an array where it can wait."""


def in_memory(array: npt.NDArray[Any]) -> Held:
    """The array itself."""
    return array


def split_channels(
    blocks: Iterable[_Array], channels: int, store: Store = in_memory
) -> list[Iterator[_Array]]:
    """One iterator a channel over blocks (channels, n, ...), giving (n, ...).

    Only what one channel has taken and another has not is held, by `store`.
    """
    shared = iter(blocks)
    queues = [collections.deque[Held]() for _ in range(channels)]

    def one(channel: int) -> Iterator[Any]:
        while True:
            while not queues[channel]:
                block = next(shared, None)
                if block is None:
                    return
                for index, piece in enumerate(block):
                    queues[index].append(piece if index == channel else store(piece))
            yield np.asarray(queues[channel].popleft())

    return [one(channel) for channel in range(channels)]


class ChannelJoiner:
    """Pieces (n, ...) of several channels, arriving in any order, as blocks (channels, n, ...) of
    at most `most` rows. Pieces wait for those of other channels in `store`."""

    def __init__(self, channels: int, store: Store = in_memory, most: int | None = None) -> None:
        self._queues = [collections.deque[Held]() for _ in range(channels)]
        self._counts = [0] * channels
        self._store, self._most = store, most

    def push(self, channel: int, piece: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        """Take a channel's next piece; gives what every channel now has, if anything."""
        if len(piece):
            self._queues[channel].append(self._store(piece))
            self._counts[channel] += len(piece)
        while ready := min(self._counts):
            rows = ready if self._most is None else min(ready, self._most)
            yield np.stack([self._take(c, rows) for c in range(len(self._queues))])

    def _take(self, channel: int, count: int) -> npt.NDArray[Any]:
        queue = self._queues[channel]
        self._counts[channel] -= count
        parts: list[npt.NDArray[Any]] = []
        while count:
            part = queue.popleft()
            if len(part) > count:
                queue.appendleft(part[count:])
                part = part[:count]
            parts.append(np.asarray(part))
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
