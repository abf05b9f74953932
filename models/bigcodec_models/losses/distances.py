"""Distances of many pairs of tensors in a few calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _MeanDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: Sequence[float], *maps: Tensor) -> Tensor:
        generated, targets = maps[: len(factors)], maps[len(factors) :]
        differences = torch._foreach_sub(generated, targets)
        ctx.save_for_backward(*differences)
        ctx.factors = [f / x.numel() for f, x in zip(factors, differences, strict=True)]
        # Half precision may stand in the difference, but not in the sum.
        precise = torch.promote_types(differences[0].dtype, torch.float32)
        norms = torch._foreach_norm(differences, 1, dtype=precise)
        return torch.stack(torch._foreach_mul(norms, ctx.factors)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = torch._foreach_sign(ctx.saved_tensors)
        torch._foreach_mul_(grads, ctx.factors)
        torch._foreach_mul_(grads, grad.to(grads[0].dtype))
        return (None, *grads, *(None for _ in grads))


def mean_distances(
    generated: Sequence[Tensor], targets: Sequence[Tensor], factors: Sequence[float]
) -> Tensor:
    """The sum of `l1_loss` of pairs of tensors, each times its factor: a scalar, at least float32.

    The tensors of a pair have one shape, all tensors one type; the gradient goes to `generated`
    only. PyTorch's own loss takes three passes and loses the memory layout, which slows down what
    follows; and pair by pair it would be the greater part of the calls of a training step.
    """
    result: Tensor = _MeanDistances.apply(  # type: ignore[no-untyped-call]
        factors, *generated, *(target.detach() for target in targets)
    )
    return result
