"""Running a sequence layer over streams, each of which has a state.

The state may be reset after a fixed number of frames, so that decoding a part of a long file needs
only the frames shortly before it. The new state is warmed up on the frames before the reset, while
the outputs still come from the old one. Loads no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from bigcodec_models.arrays import Array, join
from bigcodec_models.f0_scale import PHASE_UNITS
from bigcodec_models.layers.recurrence import Recurrence, SequenceState

WARM_UP_FRAMES = 640
"""Frames before a reset on which the new state is warmed up: 8 s, after which the output of lite-2
was as close to the original as without resets (docs/performance.md)."""


@dataclasses.dataclass
class StreamState:
    """The state of a stream between chunks.

    `position` is the number of the next frame, `layer` the state of the sequence layer, `warming`
    the one that is warmed up to replace it, and `phase` that of the harmonic excitation, in
    `PHASE_UNITS`.
    """

    position: int = 0
    layer: SequenceState | None = None
    warming: SequenceState | None = None
    phase: int = 0

    def frames_until_change(self, reset_every: int) -> int:
        """Frames from here to the next start of a warm-up, or within one to the reset."""
        remaining = reset_every - self.position % reset_every
        return remaining - WARM_UP_FRAMES if remaining > WARM_UP_FRAMES else remaining

    def in_warm_up(self, reset_every: int) -> bool:
        """Whether the next frame belongs to a warm-up."""
        return reset_every > 0 and reset_every - self.position % reset_every <= WARM_UP_FRAMES


def warm_up_start(frame: int, reset_every: int) -> int:
    """The frame at which a stream must start for `frame` to be as in a stream from frame 0."""
    return max(0, frame // reset_every * reset_every - WARM_UP_FRAMES)


def run(
    layer: Recurrence | None,
    states: Sequence[StreamState],
    chunks: Sequence[Array],
    reset_every: int,
) -> list[Array]:
    """Run a layer over the next frames (1, width, n) of independent streams, updating `states`.

    The layer's state is reset every `reset_every` frames (0: never). Without a layer, the frames
    are returned unchanged.
    """
    if layer is None:
        for state, chunk in zip(states, chunks, strict=True):
            state.position += chunk.shape[-1]
        return list(chunks)
    outputs: list[list[Array]] = [[] for _ in chunks]
    rest = list(chunks)
    while active := [index for index, chunk in enumerate(rest) if chunk.shape[-1]]:
        counts = {
            k: states[k].frames_until_change(reset_every) if reset_every else rest[k].shape[-1]
            for k in active
        }
        now = {k: rest[k][..., : counts[k]] for k in active}
        warming = [k for k in active if states[k].in_warm_up(reset_every)]
        before = [*(states[k].layer for k in active), *(states[k].warming for k in warming)]
        after = layer.step_many([now[k] for k in (*active, *warming)], before)
        for k, (output, layer_state) in zip(active, after, strict=False):
            outputs[k].append(output)
            states[k].layer = layer_state
            states[k].position += now[k].shape[-1]
            rest[k] = rest[k][..., counts[k] :]
        for k, (_, layer_state) in zip(warming, after[len(active) :], strict=True):
            states[k].warming = layer_state
        for k in active:
            if reset_every and states[k].position % reset_every == 0:
                states[k].layer, states[k].warming = states[k].warming, None
    return [join(parts) for parts in outputs]


def excitation_phases(
    state: StreamState,
    increments: Array,
    reset_every: int,
    phases: Callable[[Array, int], Array],
) -> Array:
    """Phase at the start of each frame and increment, in cycles (1, 2, n), of the next frames.

    `increments` (1, n) are int64, in `PHASE_UNITS`, and `phases` is that of `layers.f0` or its form
    for another engine. Updates the phase in `state`.
    """
    parts, position = [], state.position
    while increments.shape[-1]:
        count = reset_every - position % reset_every if reset_every else increments.shape[-1]
        now, increments = increments[:, :count], increments[:, count:]
        if reset_every and position % reset_every == 0:
            state.phase = 0
        parts.append(phases(now, state.phase))
        state.phase = int(state.phase + now.sum()) % PHASE_UNITS
        position += now.shape[-1]
    return join(parts)


def run_whole(layer: Callable[[Array], Array], frames: Array, reset_every: int) -> Array:
    """All frames (B, width, T) to the same shape, one pass per reset; the same results as `run`."""
    if not reset_every or frames.shape[-1] <= reset_every:
        return layer(frames)
    parts = []
    for start in range(0, frames.shape[-1], reset_every):
        before = max(0, start - WARM_UP_FRAMES)
        parts.append(layer(frames[..., before : start + reset_every])[..., start - before :])
    return join(parts)
