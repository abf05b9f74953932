"""Quantization of latents (paper section 2.2): one codebook, or several, residual and in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigcodec_models.config import QuantizerConfig
from bigcodec_models.quantization.codebooks import KINDS, AllReduceSum, Codebook, nearest

__all__ = ["Codebook", "Quantized", "Quantizer", "nearest"]


class Quantized(NamedTuple):
    """The result of quantizing a latent.

    `latent`: (B, dim, T), with a straight-through gradient; `tokens`: int64 (B, T, K), each in
    [0, codebook_size); `loss`: scalar, codebook plus commitment loss, summed over codebooks;
    for each codebook, (B, T, codebook_dim) and detached: `searched`, the input of its search, and
    `targets`, what its codes should be close to.
    """

    latent: Tensor
    tokens: Tensor
    loss: Tensor
    searched: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


class Quantizer(nn.Module):
    """Residual stages of codebooks, in each of one or more groups of channels.

    Groups (GVQ in HiFi-Codec, arXiv 2305.02765) are equal parts of the channels. Codebooks and
    tokens are in the order of groups, and within a group in that of stages. `codebook_loss` is a
    name of `config.CODEBOOK_LOSSES`.
    """

    def __init__(self, dim: int, config: QuantizerConfig, codebook_loss: str = "l2") -> None:
        super().__init__()
        self.config = config
        width, kind = dim // config.groups, KINDS[config.kind]
        self.codebooks = nn.ModuleList(
            kind(width, config, codebook_loss) for _ in range(config.num_codebooks)
        )

    def groups(self) -> Iterator[list[Codebook]]:
        """The codebooks of each group of channels."""
        codebooks = [part for part in self.codebooks if isinstance(part, Codebook)]
        stages = len(codebooks) // self.config.groups
        for start in range(0, len(codebooks), stages):
            yield codebooks[start : start + stages]

    def forward(self, latent: Tensor) -> Quantized:
        """Quantize a latent (B, dim, T)."""
        parts = latent.transpose(1, 2).chunk(self.config.groups, dim=-1)
        loss = latent.new_zeros((), dtype=torch.float32)
        totals, tokens, searched, targets = [], [], [], []
        for residual, codebooks in zip(parts, self.groups(), strict=True):
            total = torch.zeros_like(residual)
            for codebook in codebooks:
                stage = codebook(residual)
                residual, total = residual - stage.latent, total + stage.latent
                loss = loss + stage.loss
                tokens.append(stage.tokens)
                searched.append(stage.projected)
                targets.append(stage.target)
            totals.append(total)
        joined, chosen = torch.cat(totals, dim=-1), torch.stack(tokens, dim=-1)
        return Quantized(joined.transpose(1, 2), chosen, loss, tuple(searched), tuple(targets))

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """Tokens of a latent: (B, dim, T) float32 to (B, T, K) int64."""
        parts = latent.transpose(1, 2).float().chunk(self.config.groups, dim=-1)
        tokens: list[Tensor] = []
        for residual, codebooks in zip(parts, self.groups(), strict=True):
            for codebook in codebooks:
                chosen = codebook.search(codebook.in_proj(residual))
                tokens.append(chosen)
                if codebook is not codebooks[-1]:
                    residual = residual - codebook.out_proj(codebook.embed(chosen))
        return torch.stack(tokens, dim=-1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Latent of tokens: (B, T, K) int64 to (B, dim, T) float32."""
        columns = iter(tokens.unbind(dim=-1))
        totals: list[Tensor] = []
        for codebooks in self.groups():
            total: Tensor | None = None
            for codebook in codebooks:
                part = codebook.out_proj(codebook.embed(next(columns)))
                total = part if total is None else total + part
            assert total is not None
            totals.append(total)
        return torch.cat(totals, dim=-1).transpose(1, 2)

    def update_ema(self, quantized: Quantized, all_reduce_sum: AllReduceSum) -> None:
        """Update the codebooks that learn by moving averages, after a training step. `quantized` is
        the result of its forward pass in this process."""
        codebooks = [codebook for group in self.groups() for codebook in group]
        for index, (codebook, target) in enumerate(zip(codebooks, quantized.targets, strict=True)):
            codebook.update_ema(target, quantized.tokens[..., index], all_reduce_sum)
