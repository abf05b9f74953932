"""Changing the sample rate over one canonical grid of windows.

Each window is resampled by itself, from its own samples and a second to either side. So the result
depends on positions in the file only, and neither on how the samples arrived nor on where decoding
began. Windows start at whole seconds, where any two rates both have a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from bigcodec_cli.audio.channels import Samples, fit

_WINDOW_SECONDS = 8
_CONTEXT_SECONDS = 1
_CONTEXT_SAMPLES = 256
"""More than the filter reaches to either side, at the lower rate."""


class Grid:
    """Windows of the resampling from `rate` to `new_rate`, in seconds from the file's start; they
    are `seconds` long, or several times that at rates of a few hertz."""

    def __init__(self, rate: int, new_rate: int, seconds: int = _WINDOW_SECONDS) -> None:
        self.rate, self.new_rate = rate, new_rate
        self.context = max(_CONTEXT_SECONDS, -(-_CONTEXT_SAMPLES // min(rate, new_rate)))
        self.window = seconds * self.context

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.rate != self.new_rate

    def first_window(self, sample: int) -> int:
        """Number of the window that makes a sample of the result."""
        return sample // (self.window * self.new_rate)

    def input_start(self, window: int) -> int:
        """First input sample that a window reads."""
        return max(0, window * self.window - self.context) * self.rate

    def input_stop(self, window: int) -> int:
        """Input sample after the last one that a window reads, in a file that is long enough."""
        return ((window + 1) * self.window + self.context) * self.rate


class Resampler:
    """Resamples (channels, n) pieces of any length, joined (channels, ceil(n * new / old)).

    With `first_window` above 0 the pieces start at the grid's `input_start` of that window, and
    the result starts at the window's first sample.
    """

    def __init__(self, grid: Grid, first_window: int = 0) -> None:
        self._grid = grid
        self._window = first_window
        self._start = grid.input_start(first_window)
        self._held: list[Samples] = []
        self._count = 0

    def push(self, samples: Samples) -> Iterator[Samples]:
        """Take samples; gives those of the result that they complete."""
        self._held.append(samples)
        self._count += samples.shape[-1]
        grid = self._grid
        while self._start + self._count >= grid.input_stop(self._window):
            stop = grid.input_stop(self._window)
            yield self._resample(stop)
            self._window += 1
            self._forget(grid.input_start(self._window))

    def finish(self) -> Iterator[Samples]:
        """The rest of the result, the file ending here."""
        grid, end = self._grid, self._start + self._count
        while end > self._window * grid.window * grid.rate:
            offset = self._window * grid.window * grid.new_rate
            length = -(-end * grid.new_rate // grid.rate) - offset
            last = end <= (self._window + 1) * grid.window * grid.rate
            samples = self._resample(end)
            # The filter may give one sample less than the length is rounded up to.
            yield fit(samples, length if last else grid.window * grid.new_rate)
            self._window += 1
            if not last:
                self._forget(grid.input_start(self._window))

    def _joined(self) -> Samples:
        if len(self._held) > 1:
            self._held = [np.concatenate(self._held, axis=1)]
        return self._held[0]

    def _resample(self, stop: int) -> Samples:
        """The result from the current window's first sample on, from inputs before `stop`."""
        grid = self._grid
        piece = self._joined()[:, : stop - self._start]
        before = self._window * grid.window - self._start // grid.rate
        cut = slice(before * grid.new_rate, (before + grid.window) * grid.new_rate)
        resampled: Samples | None = None
        for channel, wave in enumerate(piece):  # one by one: at high rates they are large
            whole = soxr.resample(
                np.ascontiguousarray(wave), grid.rate, grid.new_rate, quality="VHQ"
            )
            if resampled is None:
                resampled = np.empty((len(piece), len(whole[cut])), np.float32)
            resampled[channel] = whole[cut]
        assert resampled is not None, "a recording has a channel"
        return resampled

    def _forget(self, before: int) -> None:
        rest = self._joined()[:, before - self._start :]
        self._held, self._count = [rest.copy()], rest.shape[1]
        self._start = before


def resample_stream(
    pieces: Iterable[Samples],
    rate: int,
    new_rate: int,
    first_window: int = 0,
    window: int | None = None,
) -> Iterator[Samples]:
    """Pieces (channels, n) at another rate; see `Resampler`. `window` is the length of its windows
    in seconds, if it is not to be the usual one."""
    grid = Grid(rate, new_rate, window or _WINDOW_SECONDS)
    if not grid.changes:
        yield from pieces
        return
    resampler = Resampler(grid, first_window)
    for piece in pieces:
        yield from resampler.push(piece)
    yield from resampler.finish()


def resample(wave: Samples, rate: int, new_rate: int, length: int) -> Samples:
    """A wave (n,) at another rate, cut or zero-padded to `length` samples."""
    pieces = [piece[0] for piece in resample_stream([wave[None]], rate, new_rate) if piece.size]
    joined = np.concatenate([np.zeros(0, np.float32), *pieces])
    return fit(joined, length)
