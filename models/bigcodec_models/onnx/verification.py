"""Whether graphs give what the network in torch gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from bigcodec_models.arrays import AnyTokens, Tokens, Wave
from bigcodec_models.config import SAMPLE_RATE, ModelConfig
from bigcodec_models.errors import ModelsError

_LIMITS = {
    "float32": (1e-4, 1e-4, 0.01),
    "float16": (0.01, math.inf, 0.1),
    "int8": (0.2, math.inf, 0.5),
}
"""By precision: the largest differences of latents and of samples, and the share of tokens that
may differ. Where rounding changes a single predicted F0, the phase of all that follows is another,
and so are its samples."""
_LENGTHS = 5
_LONGEST_FRAMES = 700


class Coder(Protocol):
    """What of a `Codec` is compared."""

    def latents(self, wave: Wave) -> Wave: ...

    def encode(self, wave: Wave) -> Tokens: ...

    def decode(self, tokens: AnyTokens) -> Wave: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How far graphs and network are apart: the norm of the difference of latents over that of
    latents, the largest difference of samples, and how many of the tokens differ."""

    latents: float
    samples: float
    tokens: int
    of_tokens: int

    def __str__(self) -> str:
        return (
            f"latents differ by {self.latents:.1e} of their norm, samples by at most "
            f"{self.samples:.1e}, tokens in {self.tokens} of {self.of_tokens}"
        )


def compare_with_torch(
    config: ModelConfig,
    coders: Callable[[str | None], tuple[Coder, Coder]],
    seed: int = 0,
    precision: str = "float32",
) -> Difference:
    """Compare two engines on waves of random lengths, in every F0 mode of a model.

    `coders` gives the model in torch, and as graphs, for an F0 mode, and `precision` is that of the
    graphs.

    Raises:
        ModelsError: in float32, latents or samples differ by more than 1e-4, or more than 1 % of
            tokens; by more than rounding explains in another precision.
    """
    generator = np.random.default_rng(seed)
    rows = [
        _compare(*coders(f0), _voice_like(int(frames) * config.hop, generator))
        for f0 in config.f0_modes or (None,)
        for frames in generator.integers(1, _LONGEST_FRAMES, _LENGTHS)
    ]
    result = Difference(
        latents=max(row.latents for row in rows),
        samples=max(row.samples for row in rows),
        tokens=sum(row.tokens for row in rows),
        of_tokens=sum(row.of_tokens for row in rows),
    )
    latents, samples, share = _LIMITS[precision]
    close = result.latents <= latents and result.samples <= samples
    if not close or result.tokens > share * result.of_tokens:
        raise ModelsError(f"the graphs do not give what torch gives: {result}")
    return result


def _compare(reference: Coder, other: Coder, wave: Wave) -> Difference:
    latents, tokens = reference.latents(wave), reference.encode(wave)
    apart = np.linalg.norm(other.latents(wave) - latents) / np.linalg.norm(latents)
    samples = np.abs(other.decode(tokens) - reference.decode(tokens)).max()
    return Difference(
        latents=float(apart),
        samples=float(samples),
        tokens=int((other.encode(wave) != tokens).sum()),
        of_tokens=tokens.size,
    )


def _voice_like(length: int, generator: np.random.Generator) -> Wave:
    """A gliding tone with harmonics, and noise."""
    f0 = 150 + 60 * np.sin(math.tau * np.arange(length) / SAMPLE_RATE * generator.uniform(0.2, 2))
    phase = math.tau * np.cumsum(f0) / SAMPLE_RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    wave: Wave = (0.05 * tone + 0.02 * generator.standard_normal(length)).astype(np.float32)
    return wave
