"""What layers derive from their parameters alone, computed for all layers of a network at once.

Layer by layer, weight norm and the scales of SnakeBeta are the greater part of the calls of a
training step of the published architecture, and each of these calls is on little data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bigcodec_models.kernels.snake_beta import scales_of
from bigcodec_models.layers.activation import AliasFreeSnakeBeta
from bigcodec_models.layers.weight_norm import WeightNorm

_LARGE = 1 << 22  # values of a weight whose copy would cost more than a call


@contextlib.contextmanager
def precomputed(module: nn.Module) -> Iterator[None]:
    """Within this context, layers of `module` share the computation of weights and scales, and
    several passes share its results. Parameters must not change within it, nor may
    `requires_grad`."""
    normed = [x for x in module.modules() if isinstance(x, WeightNorm) and x.folded is None]
    snakes = [x for x in module.modules() if isinstance(x, AliasFreeSnakeBeta)]
    # What is frozen stays apart, so that no gradient goes through its layers.
    for trained in (True, False):
        _share_weights([x for x in normed if x.weight_v.requires_grad == trained])
        _share_scales([x for x in snakes if x.alpha.requires_grad == trained])
    try:
        yield
    finally:
        layers: list[WeightNorm | AliasFreeSnakeBeta] = [*normed, *snakes]
        for layer in layers:
            layer.precomputed = None


def _share_weights(layers: list[WeightNorm]) -> None:
    """Weight norm of all layers whose weights have rows of one length, together."""
    groups: dict[tuple[int, int], list[WeightNorm]] = {}
    for index, layer in enumerate(layers):
        large = index if layer.weight_v.numel() >= _LARGE else -1
        groups.setdefault((layer.weight_v[0].numel(), large), []).append(layer)
    if not groups:
        return
    ordered = [layer for group in groups.values() for layer in group]
    rows = [sum(len(layer.weight_v) for layer in group) for group in groups.values()]
    gains = torch.split(_joined([layer.weight_g.flatten(1) for layer in ordered]), rows)
    for group, gain in zip(groups.values(), gains, strict=True):
        directions = _joined([layer.weight_v.flatten(1) for layer in group])
        weights = torch._weight_norm(directions, gain, 0)
        parts = torch.split(weights, [len(layer.weight_v) for layer in group])
        for layer, part in zip(group, parts, strict=True):
            layer.precomputed = part.view_as(layer.weight_v)


def _share_scales(snakes: list[AliasFreeSnakeBeta]) -> None:
    if not snakes:
        return
    alpha = _joined([snake.alpha for snake in snakes])
    beta = _joined([snake.beta for snake in snakes])
    parts = torch.split(scales_of(alpha, beta), [len(snake.alpha) for snake in snakes])
    for snake, part in zip(snakes, parts, strict=True):
        snake.precomputed = part


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
