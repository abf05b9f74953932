"""Data for fitting priors: variants of recordings, and vectors that stand for tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr
import torch.nn.functional as F

from bigcodec_models.arrays import Wave
from bigcodec_models.checkpoints.model_file import LoadedModel
from bigcodec_models.config import SAMPLE_RATE, ModelConfig
from bigcodec_models.data.index import name_hash
from bigcodec_models.quantization.codebooks import grid

_SPEED = 0.1
_QUIETER_DB = 12.0


def code_vectors(model: LoadedModel, f0: str | None = None) -> list[npt.NDArray[np.float32]]:
    """A table of vectors (size, d) for each token of a frame, with a row for each of its values.

    For tokens of codebooks these are the codes as the decoder gets them; for an F0 token, F0 from
    -1 to 1 and whether it is voiced. `f0` is an F0 mode of the model, by default its first.
    """
    quantizer = model.config.quantizer
    vectors = []
    if quantizer.kind == "fsq":
        vectors = [grid(quantizer.levels).numpy() for _ in range(quantizer.num_codebooks)]
        return vectors + _f0_vectors(model.config, f0)
    for k in range(quantizer.num_codebooks):
        codes = model.tensors[f"quantizer.codebooks.{k}.codes"].float()
        vectors.append(
            (F.normalize(codes, dim=-1) if quantizer.l2_normalized_codes else codes).numpy()
        )
    return vectors + _f0_vectors(model.config, f0)


def _f0_vectors(config: ModelConfig, f0: str | None) -> list[npt.NDArray[np.float32]]:
    tables, sizes = [], config.token_sizes_with(f0 or config.default_f0)
    for size in sizes[config.quantizer.num_codebooks :]:
        vectors = np.zeros((size, config.quantizer.codebook_dim), np.float32)
        vectors[:, 0] = np.linspace(-1, 1, size)
        vectors[1:, 1:2] = 1.0
        tables.append(vectors)
    return tables


def vary(wave: Wave, hop: int, version: int, name: str) -> Wave:
    """A version of a wave (n,) at 16 kHz, the same for the same version and name.

    Version 0 is the wave itself; every other begins up to a hop later, is played up to a tenth
    faster or slower, and is up to 12 dB quieter.
    """
    if not version:
        return wave
    random = np.random.default_rng([version, *name_hash(name)])
    speed = 1 + random.uniform(-_SPEED, _SPEED)
    changed = soxr.resample(wave, SAMPLE_RATE * speed, SAMPLE_RATE)[random.integers(0, hop) :]
    gain = 10 ** (-random.uniform(0, _QUIETER_DB) / 20)
    return np.asarray(changed * gain, dtype=np.float32)
