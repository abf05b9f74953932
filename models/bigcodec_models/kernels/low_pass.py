"""The low-pass filter of the alias-free activation, which its kernels share with it."""

from __future__ import annotations

_HALF_FILTER = (
    0.002028964693,
    0.009389465675,
    -0.02554345876,
    -0.05765738338,
    0.1285725832,
    0.4432097971,
)
LOW_PASS = (*_HALF_FILTER, *reversed(_HALF_FILTER))
"""The filter of both resamplers: a 12-tap Kaiser-windowed sinc, cutoff 0.25 cycles a sample,
half-width 0.3, summing to 1. Single-precision values, as every published checkpoint has them:
computing them anew in double precision and rounding moves gradients by more than 1e-3."""

TAPS = len(LOW_PASS)
