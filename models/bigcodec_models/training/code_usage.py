"""Watching which codes are in use, and moving those that are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.quantizer import Codebook, Quantized, Quantizer
from bigcodec_models.training.team import ALONE, Team

UNREVIVED_WINDOW = 50
"""Steps that usage is counted over in runs that revive nothing."""


class CodeUsage:
    """Counts of the codes drawn since the last check; `used` and `perplexity` as of that check.

    At small batches a codebook collapses early unless codes that nothing draws are moved onto
    live latents. Only the first codebook's are: what later ones see shrinks as training goes on.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        config = quantizer.config
        self.counts = torch.zeros(config.codebook_size, dtype=torch.int64, device=device)
        self.used, self.perplexity = 0, 0.0
        (self._first, *_) = (part for part in quantizer.codebooks if isinstance(part, Codebook))

    @torch.no_grad()
    def add(self, quantized: Quantized, team: Team = ALONE) -> None:
        """Count the tokens of one step, of all processes."""
        tokens = quantized.tokens[..., 0].flatten()
        self.counts += team.add_up(torch.bincount(tokens, minlength=len(self.counts)))

    @torch.no_grad()
    def check(self) -> Tensor:
        """Note usage, count anew; returns the counts so far, int64 (codebook_size,)."""
        counts = self.counts
        shares = counts.double() / counts.sum()
        self.used = int((counts > 0).sum())
        self.perplexity = float(torch.exp(torch.special.entr(shares).sum()))
        self.counts = torch.zeros_like(counts)
        return counts

    @torch.no_grad()
    def revive(
        self,
        counts: Tensor,
        quantized: Quantized,
        ema: Mapping[str, Tensor],
        team: Team = ALONE,
    ) -> None:
        """Move codes that have no counts onto latents of this step, drawn by torch's random
        state, in the weights and in their average. All processes take the leading one's."""
        dead = (counts == 0).nonzero().flatten()
        live = quantized.projected.flatten(0, 1)
        fresh = live[torch.randint(len(live), (len(dead),)).to(live.device)]
        # The search looks at directions only. The length of the codes in use is kept, or the
        # decoder would from one step to the next see codes of another scale.
        length = self._first.codes[counts > 0].norm(dim=-1).mean()
        fresh = length * F.normalize(fresh, dim=-1)
        team.follow(fresh)
        self._first.codes[dead] = fresh
        ema["quantizer.codebooks.0.codes"][dead] = fresh
