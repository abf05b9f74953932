"""Strided convolutions as matrix products, for inference on a CPU.

Kernels are twice as long as the stride, so that an output depends on two blocks of `stride`
samples. Two matrix products over blocks are faster than torch's strided convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.layers.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d

_MIN_STRIDE = 4
"""Below this stride, gathering the blocks costs more than the products save."""


class BlockConv1d(nn.Module):
    """A folded `WeightNormConv1d` with kernel 2 * stride: (B, in, T) to (B, out, T')."""

    def __init__(self, original: WeightNormConv1d) -> None:
        super().__init__()
        weight = original.weight()
        self.stride, self.padding, self.bias = original.stride, original.padding, original.bias
        early, late = torch.split(weight, self.stride, dim=-1)
        self.early = early.transpose(1, 2).flatten(1)
        self.late = late.transpose(1, 2).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = (x.shape[-1] + 2 * self.padding) // self.stride - 1
        missing = (outputs + 1) * self.stride - self.padding - x.shape[-1]
        padded = F.pad(x, (self.padding, missing))
        blocks = padded.view(*x.shape[:2], outputs + 1, self.stride).permute(0, 3, 1, 2)
        return torch.stack([self._multiply(row) for row in blocks.flatten(1, 2)])

    def _multiply(self, blocks: Tensor) -> Tensor:
        partial = torch.addmm(self.bias.unsqueeze(1), self.early, blocks[:, :-1])
        return torch.addmm(partial, self.late, blocks[:, 1:])


class PolyphaseConvTranspose1d(nn.Module):
    """A folded `WeightNormConvTranspose1d`: (B, in, T) to (B, out, T * stride)."""

    def __init__(self, original: WeightNormConvTranspose1d) -> None:
        super().__init__()
        same, previous = torch.split(original.weight(), original.stride, dim=-1)
        self.stride, self.padding = original.stride, original.padding
        self.bias = original.bias.repeat(self.stride)
        self.same = same.permute(2, 1, 0).flatten(0, 1)
        self.previous = previous.permute(2, 1, 0).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self._multiply(row) for row in F.pad(x, (1, 1))])

    def _multiply(self, x: Tensor) -> Tensor:
        phases = torch.addmm(self.bias.unsqueeze(1), self.previous, x[:, :-1])
        phases = torch.addmm(phases, self.same, x[:, 1:])
        samples = phases.view(self.stride, -1, phases.shape[-1]).permute(1, 2, 0).flatten(1)
        length = (x.shape[-1] - 2) * self.stride
        return samples[:, self.padding : self.padding + length]


def use_matrix_products(module: nn.Module) -> None:
    """Replace the convolutions in `module` that are faster in the forms above, in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, WeightNormConvTranspose1d):
            setattr(module, name, PolyphaseConvTranspose1d(child))
        elif _is_faster_in_blocks(child):
            assert isinstance(child, WeightNormConv1d)
            setattr(module, name, BlockConv1d(child))
        else:
            use_matrix_products(child)


def _is_faster_in_blocks(module: nn.Module) -> bool:
    if not isinstance(module, WeightNormConv1d) or module.stride < _MIN_STRIDE:
        return False
    return module.weight().shape[-1] == 2 * module.stride and module.dilation == 1
