"""Watching which codes are in use, and moving those that are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.quantization.quantizer import Quantized, Quantizer
from bigcodec_models.training.process_group import ALONE, Team

UNREVIVED_WINDOW = 50
"""Steps that usage is counted over in runs that revive nothing."""


class CodeUsage:
    """Counts of the codes drawn since the last check; `used` and `perplexity` as of that check,
    the means over codebooks.

    At small batches a codebook collapses early unless codes that nothing draws are moved onto
    live latents, or, in residual stages, onto what the stages before leave of them.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self._codebooks = [codebook for group in quantizer.groups() for codebook in group]
        self._size = quantizer.config.codebook_size
        size = len(self._codebooks) * self._size
        self.counts = torch.zeros(size, dtype=torch.int64, device=device)
        self.used, self.perplexity = 0, 0.0

    @torch.no_grad()
    def add(self, quantized: Quantized, team: Team = ALONE) -> None:
        """Count the tokens of one step, of all processes."""
        offsets = torch.arange(len(self._codebooks), device=self.counts.device) * self._size
        numbers = (quantized.tokens + offsets).flatten()
        self.counts += team.add_up(torch.bincount(numbers, minlength=len(self.counts)))

    @torch.no_grad()
    def check(self) -> Tensor:
        """Note usage, count anew; returns the counts so far, int64 (K * codebook_size,)."""
        counts = self.counts
        tables = counts.view(-1, self._size)
        shares = tables.double() / tables.sum(dim=1, keepdim=True)
        self.used = round(float((tables > 0).sum(dim=1).double().mean()))
        self.perplexity = float(torch.exp(torch.special.entr(shares).sum(dim=1)).mean())
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
        tables = counts.view(-1, self._size)
        for index, codebook in enumerate(self._codebooks):
            if not codebook.revivable:
                continue
            drawn = tables[index]
            dead = (drawn == 0).nonzero().flatten()
            live = quantized.searched[index].flatten(0, 1)
            fresh = live[torch.randint(len(live), (len(dead),)).to(live.device)]
            # The search looks at directions only. The length of the codes in use is kept, or the
            # decoder would from one step to the next see codes of another scale.
            length = codebook.codes[drawn > 0].norm(dim=-1).mean()
            fresh = length * F.normalize(fresh, dim=-1)
            team.follow(fresh)
            codebook.move(dead, fresh)
            ema[f"quantizer.codebooks.{index}.codes"][dead] = fresh
