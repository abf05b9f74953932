"""The low-pass filter of the alias-free activation, for the plain form and for the kernels."""

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
half-width 0.3, summing to 1. The single-precision values of every published checkpoint: values
computed in double precision and then rounded change gradients by more than 1e-3."""

TAPS = len(LOW_PASS)
