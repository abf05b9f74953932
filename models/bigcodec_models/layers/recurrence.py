"""The interface of sequence layers that run over streams. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bigcodec_models.arrays import Array

SequenceState = tuple[Array, Array]
"""The state of a sequence layer: an LSTM's, or keys and values (see `attention`)."""


class Recurrence(Protocol):
    """A sequence layer, run over many streams at once."""

    def step_many(
        self, pieces: Sequence[Array], states: Sequence[SequenceState | None]
    ) -> list[tuple[Array, SequenceState]]:
        """Advance independent streams: (1, width, T) each, T at least 1."""
        ...
