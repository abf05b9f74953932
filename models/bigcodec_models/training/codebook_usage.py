"""Counts of the codes that are used, and the replacement of dead ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.quantization.quantizer import Quantized, Quantizer
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

USAGE_WINDOW = 50
"""Steps between checks of usage in runs that replace no dead codes."""


class CodeUsage:
    """Counts of the codes used since the last check; `used` (codes) and `perplexity` are of that
    check, means over codebooks.

    With small batches a codebook collapses early unless dead codes, to which no latent is assigned,
    are replaced by latents of the batch; in residual stages, by residuals of the stages before.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self._codebooks = [codebook for group in quantizer.groups() for codebook in group]
        self._size = quantizer.config.codebook_size
        size = len(self._codebooks) * self._size
        self.counts = torch.zeros(size, dtype=torch.int64, device=device)
        self.used, self.perplexity = 0, 0.0

    @torch.no_grad()
    def add(
        self,
        quantized: Quantized,
        times: Tensor,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Count the tokens (B, T, K) of one step, of all processes, `times` times: a scalar."""
        offsets = torch.arange(len(self._codebooks), device=self.counts.device) * self._size
        indices = (quantized.tokens + offsets).flatten()
        # Not bincount, for which the host waits for the device.
        counted = torch.zeros_like(self.counts).scatter_add_(
            0, indices, times.long().expand_as(indices)
        )
        self.counts += process_group.all_reduce_sum(counted)

    @torch.no_grad()
    def check(self) -> Tensor:
        """Update `used` and `perplexity`, and reset the counts; returns the counts until now, int64
        (K * codebook_size,)."""
        counts = self.counts.clone()
        tables = counts.view(-1, self._size)
        fractions = tables.double() / tables.sum(dim=1, keepdim=True)
        self.used = round(float((tables > 0).sum(dim=1).double().mean()))
        self.perplexity = float(torch.exp(torch.special.entr(fractions).sum(dim=1)).mean())
        self.counts.zero_()
        return counts

    @torch.no_grad()
    def replace_dead_codes(
        self,
        counts: Tensor,
        searched: Sequence[Tensor],
        ema: Mapping[str, Tensor],
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Replace codes whose `counts`, int64 (K * codebook_size,), are 0 by random latents of a
        step, in the weights and in `ema`, their moving average by parameter name. `searched` are
        the latents of each codebook, (B, T, codebook_dim).

        Random numbers are from torch's generator; all processes take the latents of the main one.
        """
        tables = counts.view(-1, self._size)
        for index, codebook in enumerate(self._codebooks):
            if not codebook.replaceable:
                continue
            assigned = tables[index]
            dead = (assigned == 0).nonzero().flatten()
            live = searched[index].flatten(0, 1)
            fresh = live[torch.randint(len(live), (len(dead),)).to(live.device)]
            # The search depends on directions only. New codes get the mean norm of the used
            # ones, because the decoder has not seen codes of another scale.
            length = codebook.codes[assigned > 0].norm(dim=-1).mean()
            fresh = length * F.normalize(fresh, dim=-1)
            process_group.broadcast(fresh)
            codebook.replace(dead, fresh)
            ema[f"quantizer.codebooks.{index}.codes"][dead] = fresh
