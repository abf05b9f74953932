"""Time, and means over the steps between two reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from torch import Tensor

from bigcodec_models.training.events import Progress

GRADIENT_NORM = "gradient_norm/"
"""Start of the names of gradient norms among the values of a step."""


class Clock:
    """Seconds since the last lap, and since the last save."""

    def __init__(self) -> None:
        self._lap = self._save = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        passed, self._lap = now - self._lap, now
        return passed

    def since_save(self) -> float:
        """Seconds since `saved` was called."""
        return time.monotonic() - self._save

    def saved(self) -> None:
        """Note that a checkpoint has just been written."""
        self._save = time.monotonic()


class RunningMeans:
    """Means over the steps since the last report. A loss that is not part of every step is averaged
    over those that it is part of."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0
        self._waited = 0.0
        self._start = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context in which time passes that is spent waiting for training data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of one step; names that start with `GRADIENT_NORM` are gradient norms."""
        self._steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def progress(
        self, *, step: int, learning_rate: float, codes_used: int | None, perplexity: float | None
    ) -> Progress:
        """The report on the steps added so far, of which `step` was the last."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        norms = {name: mean for name, mean in means.items() if name.startswith(GRADIENT_NORM)}
        passed = max(time.monotonic() - self._start, 1e-9)
        return Progress(
            step=step,
            losses={name: mean for name, mean in means.items() if name not in norms},
            gradient_norms={name.removeprefix(GRADIENT_NORM): v for name, v in norms.items()},
            learning_rate=learning_rate,
            codes_used=codes_used,
            perplexity=perplexity,
            steps_per_second=self._steps / passed,
            data_wait=min(1.0, self._waited / passed),
        )
