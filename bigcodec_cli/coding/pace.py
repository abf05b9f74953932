"""How the channels of a recording go through the model beside one another, in bounded memory."""

from __future__ import annotations

import contextlib
import enum

from bigcodec_cli.audio.channels import Store, in_memory
from bigcodec_cli.audio.spool import ArraySpool

_SHORT_SECONDS = 60
_MOST_HELD = 1 << 24
"""Samples that are held in memory while channels go through the model one after another: 64 MB."""
_CHANNEL_BYTES, _WINDOW_SECONDS = 28 << 20, 20
"""What the model takes for each channel that it has begun, and twice what the resampling holds."""
_MOST_LOCKSTEP_BYTES = 512 << 20


class Pace(enum.Enum):
    """FREE: a few channels at a time, the rest waits in memory. LOCKSTEP: all channels together,
    which holds little of each. SPOOLED: a few channels at a time, the rest waits on disk."""

    FREE = enum.auto()
    LOCKSTEP = enum.auto()
    SPOOLED = enum.auto()


def pace_of(channels: int, rate: int, seconds: float | None) -> Pace:
    """The pace of a recording of `channels` channels at `rate` samples a second; `seconds` is None
    where its length is not known."""
    if channels == 1:
        return Pace.FREE
    if seconds is not None and seconds <= _SHORT_SECONDS:
        if seconds * max(rate, 16000) * channels <= _MOST_HELD:
            return Pace.FREE
    window = _WINDOW_SECONDS * rate * 4
    together = channels * (_CHANNEL_BYTES + window) <= _MOST_LOCKSTEP_BYTES
    return Pace.LOCKSTEP if together else Pace.SPOOLED


def store_for(pace: Pace, name: str, stack: contextlib.ExitStack) -> Store:
    """Where what one channel of an input has waits for the others. What there is to close goes into
    `stack`."""
    return stack.enter_context(ArraySpool(name)).put if pace is Pace.SPOOLED else in_memory
