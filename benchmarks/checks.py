"""Inputs of benchmarks, and comparisons of tokens and waves."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.codec import Codec
from bigcodec_models.config import ModelConfig
from bigcodec_models.inference.torch_engine import network_of
from bigcodec_models.quantization.quantizer import Codebook

_NEAR_TIE = 1e-5


def noise(samples: int, seed: int = 0) -> Wave:
    """White noise at 0.1 of full scale."""
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


def random_model(config: ModelConfig) -> LoadedModel:
    """A model with seeded random weights."""
    torch.manual_seed(0)
    tensors = CodecNetwork(config).state_dict()
    return LoadedModel(config=config, info=ModelInfo(name="random", license=""), tensors=tensors)


def snr(target: Wave, wave: Wave) -> float:
    """Signal-to-noise ratio of a wave to its target in dB; infinite if they are equal."""
    error = float(np.square(wave.astype(np.float64) - target).mean())
    power = float(np.square(target.astype(np.float64)).mean())
    return 10 * math.log10(power / error) if error else math.inf


def differences(codec: Codec, latent: Tensor, target: Tokens, tokens: Tokens) -> str:
    """How many tokens differ, and how close their scores are for a float32 latent (dim, T).

    Tokens are (T,), or (T, 2) with F0 in the second column.
    """
    further = ""
    if target.ndim == 2:
        count = int((target[:, 1] != tokens[:, 1]).sum())
        further = f"; {count} of {len(tokens)} F0 tokens differ"
        target, tokens = target[:, 0], tokens[:, 0]
    codebook = network_of(codec._engine).quantizer.codebooks[0]
    assert isinstance(codebook, Codebook)
    vectors = torch.nn.functional.normalize(codebook.in_proj(latent.t()), dim=-1)
    scores = vectors @ torch.nn.functional.normalize(codebook.codes, dim=-1).t()
    different = np.flatnonzero(target != tokens)
    gaps = [float(scores[i].max() - scores[i, tokens[i]]) for i in different]
    count = f"{len(different)} of {len(tokens)} tokens differ"
    if not gaps:
        return count + further
    verdict = "all near-ties" if max(gaps) < _NEAR_TIE else "NOT all near-ties"
    return f"{count}, {verdict} (largest gap between scores {max(gaps):.1e}){further}"
