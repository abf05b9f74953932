"""Quantisation of latents (paper section 2.2): one codebook, or several, residual and in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigcodec_models.config import QuantizerConfig
from bigcodec_models.quantization.codebooks import KINDS, AddUp, Codebook, nearest

__all__ = ["Codebook", "Quantized", "Quantizer", "nearest"]


class Quantized(NamedTuple):
    """What quantising a latent gives.

    `latent`: (B, dim, T), with a straight-through gradient; `tokens`: int64 (B, T, K), each in
    [0, codebook_size); `loss`: scalar, codebook plus commitment loss, summed over codebooks;
    for each codebook, (B, T, codebook_dim) and detached: `searched`, what its search saw, and
    `targets`, what its codes are to be near to.
    """

    latent: Tensor
    tokens: Tensor
    loss: Tensor
    searched: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


class Quantizer(nn.Module):
    """Codebooks, each quantising what the ones before it left over of its group of channels.

    Groups (GVQ in HiFi-Codec, arXiv 2305.02765) are equal parts of the channels; codebooks and
    tokens go by group, and in a group by stage.
    """

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        width, kind = dim // config.groups, KINDS[config.kind]
        self.codebooks = nn.ModuleList(kind(width, config) for _ in range(config.num_codebooks))

    def groups(self) -> Iterator[list[Codebook]]:
        """The codebooks of each group of channels."""
        found = [part for part in self.codebooks if isinstance(part, Codebook)]
        stages = len(found) // self.config.groups
        for start in range(0, len(found), stages):
            yield found[start : start + stages]

    def forward(self, latent: Tensor) -> Quantized:
        """Quantise a latent (B, dim, T)."""
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

    def learn(self, quantized: Quantized, add_up: AddUp) -> None:
        """After a training step: what codebooks learn without a gradient. `quantized` is what the
        step's pass gave in this process."""
        codebooks = [codebook for group in self.groups() for codebook in group]
        for index, (codebook, target) in enumerate(zip(codebooks, quantized.targets, strict=True)):
            codebook.learn(target, quantized.tokens[..., index], add_up)
