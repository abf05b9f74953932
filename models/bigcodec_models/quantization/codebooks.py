"""Codebooks, each of which gives one token per frame.

`Codebook` learns by gradient, `EMACodebook` by moving averages; `FSQCodebook` is a fixed grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import QuantizerConfig
from bigcodec_models.layers.embedding import select_rows
from bigcodec_models.layers.weight_norm import WeightNormLinear

_SCORES_AT_ONCE = 1 << 20
_FEWEST = 1e-20

_DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss}

AllReduceSum = Callable[[Tensor], Tensor]
"""A function that sums a tensor of any shape over all processes."""


class Stage(NamedTuple):
    """The result of one codebook for a latent (B, T, dim).

    `latent`: (B, T, dim), with a straight-through gradient; `tokens`: int64 (B, T); `loss`: scalar;
    `projected`: (B, T, codebook_dim), the input of the search; `target`: same shape, what the
    chosen codes should be close to. The last two are detached.
    """

    latent: Tensor
    tokens: Tensor
    loss: Tensor
    projected: Tensor
    target: Tensor


class Codebook(nn.Module):
    """One lookup table between two linear projections, learned by gradient.

    The search is by cosine similarity, ties to the lowest index; all of it runs in float32.
    `loss`, one of `config.CODEBOOK_LOSSES`, is the distance between codes and latents in training.
    """

    codes: Tensor
    replaceable = True
    """Whether dead codes may be replaced."""

    def __init__(self, dim: int, config: QuantizerConfig, loss: str = "l2") -> None:
        super().__init__()
        self.config = config
        self.in_proj = WeightNormLinear(dim, config.codebook_dim)
        self.out_proj = WeightNormLinear(config.codebook_dim, dim)
        self._distance = _DISTANCES[loss]
        self._set_up(config)

    def _set_up(self, config: QuantizerConfig) -> None:
        self.codes = nn.Parameter(torch.randn(config.codebook_size, config.codebook_dim))

    def search(self, projected: Tensor) -> Tensor:
        """Nearest codes: (..., codebook_dim) float to (...) int64."""
        return nearest(projected, self.codes)

    def embed(self, tokens: Tensor) -> Tensor:
        """Codes of tokens as the decoder gets them: int64 (B, T) to (B, T, codebook_dim)."""
        codes = F.normalize(self.codes, dim=-1) if self.config.l2_normalized_codes else self.codes
        return select_rows(codes, tokens)

    def vectors(self) -> Tensor:
        """All codes as the decoder gets them: (codebook_size, codebook_dim)."""
        return self.embed(torch.arange(self.config.codebook_size, device=self.codes.device))

    def forward(self, latent: Tensor) -> Stage:
        """Quantize a latent (B, T, dim)."""
        with torch.autocast(latent.device.type, enabled=False):
            projected = self.in_proj(latent.float())
            target = self._target(projected)
            tokens = self.search(projected)
            codes = self.embed(tokens)
            loss = self._loss(codes, target)
            straight_through = target + (codes - target).detach()
            latent = self.out_proj(straight_through)
            return Stage(latent, tokens, loss, projected.detach(), target.detach())

    def _target(self, projected: Tensor) -> Tensor:
        """What the codes should be close to, (..., codebook_dim)."""
        return F.normalize(projected, dim=-1) if self.config.l2_normalized_codes else projected

    def _loss(self, codes: Tensor, target: Tensor) -> Tensor:
        """Codebook and commitment loss, a scalar, of chosen codes and targets of one shape."""
        loss = self._distance(codes, target.detach())
        return loss + self.config.commitment * self._distance(target, codes.detach())

    def update_ema(self, target: Tensor, tokens: Tensor, all_reduce_sum: AllReduceSum) -> None:
        """Update moving averages from the targets (B, T, codebook_dim) and tokens (B, T) of a pass,
        if the codebook has any."""

    def replace(self, which: Tensor, codes: Tensor) -> None:
        """Replace the codes with indices `which`, int64 (n,), by `codes` (n, codebook_dim)."""
        self.codes[which] = codes


class EMACodebook(Codebook):
    """Codes that are moving averages of the latents assigned to them (arXiv 1711.00937, appendix A,
    and EnCodec, arXiv 2210.13438); only the commitment term is left as a loss.

    `counts` are the moving averages of the number of latents per code. The papers also keep
    averaged sums; here they are code times count. Counts start at 0, so that the first
    latents assigned to a code replace it.
    """

    counts: Tensor

    def _set_up(self, config: QuantizerConfig) -> None:
        self.register_buffer("codes", torch.randn(config.codebook_size, config.codebook_dim))
        self.register_buffer("counts", torch.zeros(config.codebook_size))

    def _loss(self, codes: Tensor, target: Tensor) -> Tensor:
        return self.config.commitment * self._distance(target, codes)

    @torch.no_grad()
    def update_ema(self, target: Tensor, tokens: Tensor, all_reduce_sum: AllReduceSum) -> None:
        """As in `Codebook`, with the targets and tokens of all processes."""
        size, dim = self.codes.shape
        vectors, chosen = target.reshape(-1, dim), tokens.flatten()
        # Sums and counts in one table, so that there is one sum over the processes.
        sums = vectors.new_zeros(size, dim + 1)
        sums.index_add_(0, chosen, F.pad(vectors, (0, 1), value=1.0))
        sums = all_reduce_sum(sums)
        assigned, fresh = sums[:, dim], 1 - self.config.ema_decay
        self.counts.lerp_(assigned, fresh)
        step = fresh * (sums[:, :dim] - assigned.unsqueeze(1) * self.codes)
        self.codes += step / self.counts.clamp(min=_FEWEST).unsqueeze(1)

    def replace(self, which: Tensor, codes: Tensor) -> None:
        """As in `Codebook`. Counts are set to 0: the next latents assigned to a code replace it."""
        super().replace(which, codes)
        self.counts[which] = 0.0


class FSQCodebook(Codebook):
    """Finite scalar quantization (arXiv 2309.15505): each axis bounded, and rounded to its levels.

    Only the projections are learned, and there is no loss. Token
    i = i_0 + levels_0 * (i_1 + levels_1 * (...)), of the place i_k along each axis.
    """

    replaceable = False
    steps: Tensor

    def _set_up(self, config: QuantizerConfig) -> None:
        codes, steps = grid(config.levels), torch.tensor([0, *config.levels[:-1]], device="cpu")
        steps[0] = 1
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("steps", steps.cumprod(0), persistent=False)

    def search(self, projected: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(projected.device.type, enabled=False):
            places = self._bounded(projected.float()).round().long()
            return ((places + self._halves(places).long()) * self.steps).sum(dim=-1)

    def embed(self, tokens: Tensor) -> Tensor:
        return select_rows(self.codes, tokens)

    def _target(self, projected: Tensor) -> Tensor:
        return self._bounded(projected) / self._halves(projected)

    def _loss(self, codes: Tensor, target: Tensor) -> Tensor:
        return target.new_zeros(())

    def _bounded(self, x: Tensor) -> Tensor:
        """Bound each axis to the range that rounds to its levels, (..., axes); 0 maps to 0.

        An even number of levels has one more below 0 than above: the range is shifted by a half.
        It is slightly wider than the levels, so that finite inputs reach the outermost ones.
        """
        levels = torch.tensor(self.config.levels, dtype=x.dtype, device=x.device)
        half = (levels - 1) / 2 * (1 + 1e-3)
        offset = (1 - levels % 2) / 2
        return half * torch.tanh(x + torch.atanh(offset / half)) - offset

    def _halves(self, x: Tensor) -> Tensor:
        return torch.tensor([n // 2 for n in self.config.levels], dtype=x.dtype, device=x.device)


def grid(levels: tuple[int, ...]) -> Tensor:
    """All codes of a grid, in the order of their tokens: (product of levels, axes) in [-1, 1]."""
    axes = [(torch.arange(n, device="cpu") - n // 2) / (n // 2) for n in levels]
    places = torch.meshgrid(*reversed(axes), indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(places)], dim=-1)


KINDS: dict[str, type[Codebook]] = {
    "vq": Codebook,
    "ema": EMACodebook,
    "fsq": FSQCodebook,
}


def nearest(projected: Tensor, codes: Tensor) -> Tensor:
    """Index of the code with the highest cosine similarity: (..., d) and (N, d) to int64 (...).

    Ties go to the lowest index. Half precision in this search degrades the codes, so autocast is
    off. Latents are searched in pieces whose table of scores fits into the processor's cache.
    """
    with torch.no_grad(), torch.autocast(projected.device.type, enabled=False):
        vectors = F.normalize(projected.float(), dim=-1).flatten(0, -2)
        table = F.normalize(codes.float(), dim=-1).t().contiguous()
        rows = max(1, _SCORES_AT_ONCE // table.shape[1])
        indices = [(piece @ table).max(dim=-1).indices for piece in torch.split(vectors, rows)]
        return (
            torch.cat(indices).view(projected.shape[:-1])
            if indices
            else vectors.new_zeros(0).long()
        )
