"""Muon (K. Jordan, kellerjordan.github.io/posts/muon, 2024), matrices of one shape together, and
those of the transposed shape with them.

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
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            if matrices:
                self._update(matrices, group)

    def _update(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update matrices (rows, columns), those of a shape and of its transpose together."""
        rate = group["lr"]
        if self.found_inf is not None:
            rate = rate * (self.found_inf == 0)
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for matrix in sorted(matrices, key=_is_tall):
            shapes.setdefault(tuple(sorted(matrix.shape)), []).append(matrix)
        ordered: list[Tensor] = [matrix for alike in shapes.values() for matrix in alike]
        changes, scales = list[Tensor](), list[float]()
        for alike in shapes.values():
            average, change = self._average_and_change(alike, group)
            torch._foreach_copy_([self._buffer(m) for m in alike], _as_shaped(average, alike))
            changes += _as_shaped(change, alike)
            scales += [0.2 * math.sqrt(max(alike[0].shape))] * len(alike)
        torch._foreach_mul_(changes, scales)
        torch._foreach_mul_(changes, rate)
        torch._foreach_mul_(ordered, 1 - rate * group["weight_decay"])
        torch._foreach_sub_(ordered, changes)

    def _average_and_change(
        self, matrices: list[nn.Parameter], group: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The new momentum of matrices of one shape or its transpose, and the orthogonalized
        update: (n, rows, columns), rows <= columns."""
        momentum = group["momentum"]
        buffers = torch.stack([_wide(self._buffer(matrix)) for matrix in matrices])
        gradients = torch.stack([_wide(m.grad) for m in matrices if m.grad is not None])
        if self.found_inf is not None:
            # A gradient that is not finite must not reach the momentum, not even times 0.
            gradients = torch.where(self.found_inf == 0, gradients, buffers)
        average = buffers.lerp(gradients, 1 - momentum)
        nesterov = gradients.lerp(average, momentum)
        return average, orthogonalized(nesterov, group["iterations"]).to(nesterov.dtype)

    def _buffer(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose if that has fewer rows."""
    return matrix.mT if _is_tall(matrix) else matrix


def _as_shaped(wide: Tensor, matrices: list[nn.Parameter]) -> list[Tensor]:
    """Each of (n, rows, columns) as the matrix that it belongs to is shaped; tall ones are last.
    All are contiguous, as parameters are: else a GPU would go through them one by one."""
    first = sum(not _is_tall(matrix) for matrix in matrices)
    return [*wide[:first].unbind(), *wide[first:].mT.contiguous().unbind()]


def orthogonalized(matrices: Tensor, iterations: int) -> Tensor:
    """Approximately the nearest orthogonal matrices: (n, rows, columns), rows <= columns, to the
    same shape.

    Uses the iteration of Newton and Schulz, in bfloat16 where that is faster.
    """
    a, b, c = _QUINTIC
    x = matrices.bfloat16() if bfloat16_pays(matrices.device) else matrices.float()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
