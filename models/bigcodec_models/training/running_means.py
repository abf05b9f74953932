"""Time, and means over the steps between two reports."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterator, Mapping

import torch
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
    over those that it is part of. Sums stay on the device until the report."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], list[Tensor]] = {}
        self._counts: collections.Counter[tuple[str, ...]] = collections.Counter()
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
        names = tuple(values)
        if names not in self._sums:
            self._sums[names] = [value.double() for value in values.values()]
        else:
            torch._foreach_add_(self._sums[names], list(values.values()))
        self._counts[names] += 1

    def progress(
        self,
        *,
        step: int,
        expected_steps: int,
        learning_rate: float,
        codes_used: int | None,
        perplexity: float | None,
    ) -> Progress:
        """The report on the steps added so far, of which `step` was the last."""
        means = self._means()
        norms = {name: mean for name, mean in means.items() if name.startswith(GRADIENT_NORM)}
        passed = max(time.monotonic() - self._start, 1e-9)
        return Progress(
            step=step,
            expected_steps=expected_steps,
            losses={name: mean for name, mean in means.items() if name not in norms},
            gradient_norms={name.removeprefix(GRADIENT_NORM): v for name, v in norms.items()},
            learning_rate=learning_rate,
            codes_used=codes_used,
            perplexity=perplexity,
            steps_per_second=self._counts.total() / passed,
            data_wait=min(1.0, self._waited / passed),
        )

    def _means(self) -> dict[str, float]:
        if not self._sums:
            return {}
        flat = torch.stack([total for totals in self._sums.values() for total in totals])
        named = zip((name for names in self._sums for name in names), flat.tolist(), strict=True)
        totals: collections.defaultdict[str, float] = collections.defaultdict(float)
        for name, total in named:
            totals[name] += total
        counts: collections.Counter[str] = collections.Counter()
        for names, count in self._counts.items():
            counts.update(dict.fromkeys(names, count))
        return {name: total / counts[name] for name, total in totals.items()}
