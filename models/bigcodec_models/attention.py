"""Causal attention over a bounded window of frames: the other choice of sequence layer.

It stands where `recurrent.ResidualLSTM` does, and runs over streams in the same way: what it
carries from one stretch to the next are the keys and values of the frames that a window reaches
back to. What it computes of a frame depends on its place relative to others, never on its place
in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.recurrent import SequenceState

_EXPANSION = 2


class AttentionLayer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)); a frame sees itself and the
    `window` - 1 frames before it.

    Each head adds a learnt value to the score of each distance (as arXiv 1910.10683 does, with one
    value a distance).
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window, self.dropout = heads, window, dropout
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.project_in = nn.Linear(width, 3 * width)
        self.distances = nn.Parameter(torch.zeros(heads, window))
        self.project_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.contract = nn.Linear(_EXPANSION * width, width)

    def step(
        self, x: Tensor, before: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Frames (B, T, width), given the keys and values (B, at most window - 1, width) of those
        before; returns the frames, and the keys and values for the next."""
        queries, keys, values = self.project_in(self.norm_in(x)).chunk(3, dim=-1)
        keys = torch.cat([before[0].to(keys.dtype), keys], dim=1)
        values = torch.cat([before[1].to(values.dtype), values], dim=1)
        found = F.scaled_dot_product_attention(
            self._split(queries),
            self._split(keys),
            self._split(values),
            attn_mask=self._scores(queries.shape[1], keys.shape[1]).to(queries.dtype),
            dropout_p=self.dropout if self.training else 0.0,
        )
        x = x + self.project_out(found.transpose(1, 2).flatten(2))
        x = x + self.contract(F.gelu(self.expand(self.norm_out(x))))
        kept = max(0, keys.shape[1] - self.window + 1)
        return x, (keys[:, kept:], values[:, kept:])

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, width) to (B, heads, T, width of a head)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _scores(self, queries: int, keys: int) -> Tensor:
        """What is added to scores (heads, queries, keys): by distance, minus infinity outside the
        window. The last query stands at the last key."""
        places = torch.arange(keys, device=self.distances.device)
        distance = places[keys - queries :].unsqueeze(1) - places
        inside = (distance >= 0) & (distance < self.window)
        added = self.distances[:, distance.clamp(0, self.window - 1)]
        return added.masked_fill(~inside, float("-inf"))


class WindowedAttention(nn.Module):
    """`layers` attention layers, over streams as a `Recurrence`.

    Its state are keys and values, each (layers, B, frames, width), frames at most window - 1. With
    L layers a frame reaches back L * (window - 1) frames.
    """

    def __init__(
        self, width: int, layers: int, heads: int, window: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(
            AttentionLayer(width, heads, window, dropout) for _ in range(layers)
        )

    def chunks_before(self, chunk: int) -> int:
        """How many chunks of `chunk` frames to run, from whatever state, before one whose outputs
        are those of a stream from the start: each layer adds what its window reaches back."""
        windows = [layer.window - 1 for layer in self.layers if isinstance(layer, AttentionLayer)]
        return sum(-(-window // chunk) for window in windows)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape, from the start of a stream."""
        return self.step(x, None)[0]

    def step(self, x: Tensor, state: SequenceState | None) -> tuple[Tensor, SequenceState]:
        """Like `forward`, from a given state, returning the state after the last frame."""
        frames = x.transpose(1, 2)
        if state is None:
            nothing = frames.new_zeros(len(self.layers), len(x), 0, self.width)
            state = (nothing, nothing)
        after: list[tuple[Tensor, Tensor]] = []
        for layer, keys, values in zip(self.layers, *state, strict=True):
            assert isinstance(layer, AttentionLayer)
            frames, kept = layer.step(frames, (keys, values))
            after.append(kept)
        keys_after, values_after = (torch.stack(parts) for parts in zip(*after, strict=True))
        return frames.transpose(1, 2), (keys_after, values_after)

    def step_many(
        self, pieces: Sequence[Tensor], states: Sequence[SequenceState | None]
    ) -> list[tuple[Tensor, SequenceState]]:
        """Advance streams that do not know of each other: (1, width, T) each, T at least 1.

        One after another: each is one large product by itself, unlike the steps of an LSTM.
        """
        return [self.step(piece, state) for piece, state in zip(pieces, states, strict=True)]
