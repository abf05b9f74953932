"""The scale of F0 tokens, and the constants of their tracker and their excitation. Loads no torch.

Every engine has the same values.
"""

from __future__ import annotations

import math

from bigcodec_models.config import F0_BINS, SAMPLE_RATE

LOWEST = 55.0
"""Hertz of token 1; token 0 is "unvoiced"."""
STEPS_AN_OCTAVE = 48
HIGHEST = LOWEST * 2 ** ((F0_BINS - 2) / STEPS_AN_OCTAVE)
DEFAULT_TOKEN = 1 + STEPS_AN_OCTAVE
"""110 Hz, where no nearby frame is voiced."""
PHASE_UNITS = 1 << 20
"""Units per cycle in which phases are summed: integers that float32 represents exactly."""
TAPS = (1, 3, 5, 6, 5, 3, 1)
"""Weights of a frame and its neighbors in the smoothing of F0."""
HARMONIC_BAND = 0.48
"""Upper limit of the harmonics of the excitation, as a fraction of the sample rate."""
TRACKER_REACH = 8
"""Frames of the tracker's path on either side of a frame."""
TRACKER_WINDOW = 960
"""Samples of the tracker's window: 60 ms, more than three periods of the lowest F0."""
TRACKER_FFT = 1280
"""Samples of its transforms: room for the window and the longest lag."""
TRACKER_FINER = 4
"""Lags per sample, because short periods fall between samples."""
TRACKER_LAG_RATE = TRACKER_FINER * SAMPLE_RATE
TRACKER_SHORTEST = int(TRACKER_LAG_RATE / HIGHEST)
TRACKER_LONGEST = math.ceil(TRACKER_LAG_RATE / LOWEST)
TRACKER_CANDIDATES = 5
# Costs of the paper's method, with their usual values for speech; below -60 dB is silence.
TRACKER_VOICED_FROM = 0.45
TRACKER_HIGHER = 0.05
TRACKER_JUMP = 0.35
TRACKER_CHANGE = 0.14
TRACKER_SILENCE = 1e-3
TRACKER_NEVER = 1e3
"""The cost of what is outside of a stream."""


def tracker_receptive_field(hop: int) -> int:
    """Frames before and after a frame that its F0 token depends on."""
    return TRACKER_REACH + -(-(TRACKER_WINDOW - hop) // (2 * hop))


def increments_of_tokens(hop: int) -> list[int]:
    """The phase increments per frame, in `PHASE_UNITS`, of all F0 tokens."""
    hertz = [LOWEST * 2 ** ((token - 1) / STEPS_AN_OCTAVE) for token in range(F0_BINS)]
    return [round(PHASE_UNITS * f0 * hop / SAMPLE_RATE) for f0 in hertz]
