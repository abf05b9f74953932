"""Factorised vector quantisation (paper section 2.2), residual when there are several codebooks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import QuantizerConfig
from bigcodec_models.weight_norm import WeightNormLinear

_SCORES_AT_ONCE = 1 << 20


class Quantized(NamedTuple):
    """What quantising a latent gives.

    `latent`: (B, dim, T), with a straight-through gradient; `tokens`: int64 (B, T, K), each in
    [0, codebook_size); `loss`: scalar, codebook plus commitment loss, summed over codebooks;
    `projected`: (B, T, codebook_dim), what the first codebook's search saw, detached.
    """

    latent: Tensor
    tokens: Tensor
    loss: Tensor
    projected: Tensor


class Codebook(nn.Module):
    """One lookup table between two linear projections.

    The search is by cosine similarity, ties to the lowest index; all of it runs in float32.
    `distance` is the loss between codes and latents: squared in the released code, and so by
    default; the paper describes an absolute one.
    """

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.in_proj = WeightNormLinear(dim, config.codebook_dim)
        self.out_proj = WeightNormLinear(config.codebook_dim, dim)
        self.codes = nn.Parameter(torch.randn(config.codebook_size, config.codebook_dim))
        self.distance = F.mse_loss

    def search(self, projected: Tensor) -> Tensor:
        """Nearest codes: (..., codebook_dim) float to (...) int64."""
        return nearest(projected, self.codes)

    def embed(self, tokens: Tensor) -> Tensor:
        """Codes as the decoder sees them: int64 (B, T) to (B, T, codebook_dim)."""
        codes = F.normalize(self.codes, dim=-1) if self.config.unit_codes else self.codes
        return F.embedding(tokens, codes)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, T, dim) to (quantised latent (B, T, dim), tokens (B, T), loss, projected)."""
        with torch.autocast(latent.device.type, enabled=False):
            return self._quantize(latent.float())

    def _quantize(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        projected = self.in_proj(latent)
        tokens = self.search(projected)
        codes = self.embed(tokens)
        target = F.normalize(projected, dim=-1) if self.config.unit_codes else projected
        loss = self.distance(codes, target.detach())
        loss = loss + self.config.commitment * self.distance(target, codes.detach())
        straight_through = target + (codes - target).detach()
        return self.out_proj(straight_through), tokens, loss, projected.detach()


class Quantizer(nn.Module):
    """`num_codebooks` codebooks, each quantising what the ones before it left over."""

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(Codebook(dim, config) for _ in range(config.num_codebooks))

    def forward(self, latent: Tensor) -> Quantized:
        """Quantise a latent (B, dim, T)."""
        residual = latent.transpose(1, 2)
        total = torch.zeros_like(residual)
        loss = latent.new_zeros((), dtype=torch.float32)
        tokens: list[Tensor] = []
        first: Tensor | None = None
        for codebook in self.codebooks:
            quantized, chosen, part, projected = codebook(residual)
            residual, total, loss = residual - quantized, total + quantized, loss + part
            tokens.append(chosen)
            first = projected if first is None else first
        assert first is not None
        return Quantized(total.transpose(1, 2), torch.stack(tokens, dim=-1), loss, first)

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """Tokens of a latent: (B, dim, T) float32 to (B, T, K) int64."""
        residual = latent.transpose(1, 2).float()
        tokens: list[Tensor] = []
        for codebook in self.codebooks:
            assert isinstance(codebook, Codebook)
            chosen = codebook.search(codebook.in_proj(residual))
            tokens.append(chosen)
            if len(tokens) < len(self.codebooks):
                residual = residual - codebook.out_proj(codebook.embed(chosen))
        return torch.stack(tokens, dim=-1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Latent of tokens: (B, T, K) int64 to (B, dim, T) float32."""
        total: Tensor | None = None
        for index, codebook in enumerate(self.codebooks):
            assert isinstance(codebook, Codebook)
            part = codebook.out_proj(codebook.embed(tokens[..., index]))
            total = part if total is None else total + part
        assert total is not None
        return total.transpose(1, 2)


def nearest(projected: Tensor, codes: Tensor) -> Tensor:
    """Index of the code with the highest cosine similarity: (..., d) and (N, d) to int64 (...).

    Ties go to the lowest index. Half precision in this search degrades the codes, so autocast is
    switched off. Rows go in pieces whose score table stays in the processor's cache.
    """
    with torch.no_grad(), torch.autocast(projected.device.type, enabled=False):
        vectors = F.normalize(projected.float(), dim=-1).flatten(0, -2)
        table = F.normalize(codes.float(), dim=-1).t().contiguous()
        rows = max(1, _SCORES_AT_ONCE // table.shape[1])
        found = [(piece @ table).max(dim=-1).indices for piece in torch.split(vectors, rows)]
        return torch.cat(found).view(projected.shape[:-1]) if found else vectors.new_zeros(0).long()
