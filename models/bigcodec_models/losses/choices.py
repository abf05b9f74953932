"""The names and windows that configurations of losses have. Loads no torch."""

from __future__ import annotations

ADVERSARIAL_LOSSES = ("least_squares", "hinge", "bce")
"""Least squares (LSGAN, arXiv 1611.04076), hinge (Geometric GAN, 1705.02894), and binary cross
entropy with scores as logits and the non-saturating loss of the generator (GAN, 1406.2661)."""

PAPER_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
STFT_WINDOWS = (160, 400, 800)
"""10, 25 and 50 ms, the three of Parallel WaveGAN (arXiv 1910.11480) at 16 kHz."""


def fft_size_for(window: int) -> int:
    """The smallest power of two that is at least `window`."""
    return 1 << (window - 1).bit_length()
