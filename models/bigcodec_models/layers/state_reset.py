"""Running a sequence layer along streams, with what it carries on.

A layer may start anew every so many frames: then a part of a long file needs no more than what
lies a little before it. So that it is no start from nothing, the new start runs up over the frames
before, beside the old run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bigcodec_models.layers.f0 import PHASE_UNITS, phases
from bigcodec_models.layers.lstm import Recurrence, SequenceState

RUN_UP = 640
"""Frames before a new start that it runs over: 8 s, after which lite-2 was as near to the original
as after a run over everything (docs/performance.md)."""


@dataclasses.dataclass
class Carried:
    """What a stream carries on: the frame that comes next, the layer's state, that of the run
    which will take its place, and a tone's phase in `PHASE_UNITS`."""

    position: int = 0
    state: SequenceState | None = None
    next_state: SequenceState | None = None
    phase: int = 0

    def until_change(self, restart: int) -> int:
        """Frames from here to the next new start, or to the begin of its run-up."""
        left = restart - self.position % restart
        return left - RUN_UP if left > RUN_UP else left

    def runs_up(self, restart: int) -> bool:
        """Whether the frame that comes next belongs to a run-up."""
        return restart > 0 and restart - self.position % restart <= RUN_UP


def starts_before(frame: int, restart: int) -> int:
    """From which frame on a stream has to run, so that `frame` is what it is in all of it."""
    return max(0, frame // restart * restart - RUN_UP)


def run(
    layer: Recurrence | None, carried: Sequence[Carried], pieces: Sequence[Tensor], restart: int
) -> list[Tensor]:
    """The next frames (1, width, n) of streams that do not know of each other, through a layer
    that starts anew every `restart` frames (0: never); without a layer, past it."""
    if layer is None:
        for one, piece in zip(carried, pieces, strict=True):
            one.position += piece.shape[-1]
        return list(pieces)
    outputs: list[list[Tensor]] = [[] for _ in pieces]
    rest = list(pieces)
    while going := [index for index, piece in enumerate(rest) if piece.shape[-1]]:
        counts = {
            k: carried[k].until_change(restart) if restart else rest[k].shape[-1] for k in going
        }
        now = {k: rest[k][..., : counts[k]] for k in going}
        ahead = [k for k in going if carried[k].runs_up(restart)]
        states = [*(carried[k].state for k in going), *(carried[k].next_state for k in ahead)]
        after = layer.step_many([now[k] for k in (*going, *ahead)], states)
        for k, (output, state) in zip(going, after, strict=False):
            outputs[k].append(output)
            carried[k].state = state
            carried[k].position += now[k].shape[-1]
            rest[k] = rest[k][..., counts[k] :]
        for k, (_, state) in zip(ahead, after[len(going) :], strict=True):
            carried[k].next_state = state
        for k in going:
            if restart and carried[k].position % restart == 0:
                carried[k].state, carried[k].next_state = carried[k].next_state, None
    return [torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0] for parts in outputs]


def tone_phases(carried: Carried, steps: Tensor, restart: int) -> Tensor:
    """Phases and steps (1, 2, n), in cycles, of the next steps int64 (1, n) in `PHASE_UNITS`."""
    found, at = [], carried.position
    while steps.shape[-1]:
        count = restart - at % restart if restart else steps.shape[-1]
        now, steps = steps[:, :count], steps[:, count:]
        if restart and at % restart == 0:
            carried.phase = 0
        found.append(phases(now, carried.phase))
        carried.phase = int(carried.phase + now.sum()) % PHASE_UNITS
        at += now.shape[-1]
    return torch.cat(found, dim=-1)


def whole(layer: Callable[[Tensor], Tensor], frames: Tensor, restart: int) -> Tensor:
    """All frames (B, width, T) in a single pass for each new start, what `run` gives of them."""
    if not restart or frames.shape[-1] <= restart:
        return layer(frames)
    parts = []
    for start in range(0, frames.shape[-1], restart):
        before = max(0, start - RUN_UP)
        parts.append(layer(frames[..., before : start + restart])[..., start - before :])
    return torch.cat(parts, dim=-1)
