"""Muon, matrices of one shape together: launches, not arithmetic, take its time on a GPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BatchedMuon:
    """torch.optim.Muon with `match_rms_adamw`, matrices of one shape together."""

    def __init__(self, parameters: list[nn.Parameter], rate: Tensor, decay: float) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros(len(g), *g[0].shape, device=rate.device) for g in self.groups]
        self.rate, self.decay = rate, decay

    @torch.no_grad()
    def step(self) -> None:
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradients = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(gradients, 0.05)
            update = orthogonalized(gradients.lerp(momentum, 0.95), 4 if momentum.is_cuda else 3)
            scale = 0.2 * math.sqrt(max(group[0].shape)) * self.rate
            updates = list((update.float() * scale).unbind())
            for parameter, change in zip(group, updates, strict=True):
                parameter.mul_(1 - self.rate * self.decay).sub_(change)


def orthogonalized(x: Tensor, steps: int = 3) -> Tensor:
    """Newton and Schulz's iteration on matrices (n, rows, columns)."""
    a, b, c = 3.4445, -4.775, 2.0315
    x = x.bfloat16() if x.is_cuda else x
    flipped = x.shape[1] > x.shape[2]
    x = x.mT if flipped else x
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7).view(-1, 1, 1).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    found: Tensor = x.mT if flipped else x
    return found
