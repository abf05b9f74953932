"""Counts of the codes in use, and the replacement of dead ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.quantization.quantizer import Quantized, Quantizer
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

USAGE_WINDOW = 50
"""Steps that usage is counted over in runs that replace no dead codes."""


class CodeUsage:
    """Counts of the codes assigned since the last check; `used` and `perplexity` as of that check,
    the means over codebooks.

    At small batches a codebook collapses early unless dead codes, to which no latent is assigned,
    are replaced by latents of the batch; in residual stages, by what the stages before leave.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self._codebooks = [codebook for group in quantizer.groups() for codebook in group]
        self._size = quantizer.config.codebook_size
        size = len(self._codebooks) * self._size
        self.counts = torch.zeros(size, dtype=torch.int64, device=device)
        self.used, self.perplexity = 0, 0.0

    @torch.no_grad()
    def add(self, quantized: Quantized, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        """Count the tokens of one step, of all processes."""
        offsets = torch.arange(len(self._codebooks), device=self.counts.device) * self._size
        indices = (quantized.tokens + offsets).flatten()
        self.counts += process_group.all_reduce_sum(
            torch.bincount(indices, minlength=len(self.counts))
        )

    @torch.no_grad()
    def check(self) -> Tensor:
        """Update usage and reset the counts; returns them, int64 (K * codebook_size,)."""
        counts = self.counts
        tables = counts.view(-1, self._size)
        fractions = tables.double() / tables.sum(dim=1, keepdim=True)
        self.used = round(float((tables > 0).sum(dim=1).double().mean()))
        self.perplexity = float(torch.exp(torch.special.entr(fractions).sum(dim=1)).mean())
        self.counts = torch.zeros_like(counts)
        return counts

    @torch.no_grad()
    def replace_dead_codes(
        self,
        counts: Tensor,
        quantized: Quantized,
        ema: Mapping[str, Tensor],
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Replace codes without counts by random latents of this step (from torch's generator),
        in the weights and in their average. All processes take those of the main process."""
        tables = counts.view(-1, self._size)
        for index, codebook in enumerate(self._codebooks):
            if not codebook.replaceable:
                continue
            assigned = tables[index]
            dead = (assigned == 0).nonzero().flatten()
            live = quantized.searched[index].flatten(0, 1)
            fresh = live[torch.randint(len(live), (len(dead),)).to(live.device)]
            # The search looks at directions only. New codes get the mean norm of those
            # in use: codes of another scale would be a jump for the decoder.
            length = codebook.codes[assigned > 0].norm(dim=-1).mean()
            fresh = length * F.normalize(fresh, dim=-1)
            process_group.broadcast(fresh)
            codebook.replace(dead, fresh)
            ema[f"quantizer.codebooks.{index}.codes"][dead] = fresh
