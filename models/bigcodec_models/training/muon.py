"""Muon (K. Jordan, kellerjordan.github.io/posts/muon, 2024), matrices of one shape together.

It gives the updates of `torch.optim.Muon`, which is not used for two reasons. It works matrix by
matrix, which on a GPU is limited by the launches of kernels, and always in bfloat16: on a core of
an AMD EPYC without AVX-512 the 46 matrices of `lite` took 38 s per step, and take 2.2 s here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bigcodec_models.precision import bfloat16_pays

_QUINTIC = (3.4445, -4.775, 2.0315)
"""Coefficients of the iteration, as published and in torch."""


class Muon(torch.optim.Optimizer):
    """Updates with the orthogonalized momentum of matrices: singular values are all near 1.

    The learning rate is scaled so that updates have the size of AdamW's (arXiv 2502.16982): one
    learning rate serves both. `iterations` are those of Newton and Schulz. The state of a parameter
    is `momentum_buffer`, of its shape. `found_inf`, if set, is a float32 scalar on the device:
    where it is 1, a step changes nothing.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        *,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(list(matrices), {**defaults, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix (rows, columns) that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for matrices in shapes.values():
                self._step_together(matrices, group)

    def _step_together(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update matrices of one shape (rows, columns)."""
        momentum, rate = group["momentum"], group["lr"]
        buffers = [self._buffer(matrix) for matrix in matrices]
        gradients = torch.stack([m.grad for m in matrices if m.grad is not None])
        if self.found_inf is not None:
            taken = self.found_inf == 0
            gradients = torch.where(taken, gradients, torch.stack(buffers))
            rate = rate * taken
        torch._foreach_lerp_(buffers, list(gradients.unbind()), 1 - momentum)
        nesterov = gradients.lerp(torch.stack(buffers), momentum)
        updates = orthogonalized(nesterov, group["iterations"])
        scale = rate * 0.2 * math.sqrt(max(matrices[0].shape))
        changes = [update * scale for update in updates.to(matrices[0].dtype).unbind()]
        torch._foreach_mul_(list(matrices), 1 - rate * group["weight_decay"])
        torch._foreach_sub_(list[Tensor](matrices), changes)

    def _buffer(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalized(matrices: Tensor, iterations: int) -> Tensor:
    """Approximately the nearest orthogonal matrices: (n, rows, columns) to the same shape.

    Uses the iteration of Newton and Schulz, in bfloat16 where that is faster.
    """
    a, b, c = _QUINTIC
    x = matrices.bfloat16() if bfloat16_pays(matrices.device) else matrices.float()
    flipped = x.shape[1] > x.shape[2]
    x = x.mT if flipped else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if flipped else x
