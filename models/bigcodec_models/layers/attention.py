"""Attention over a bounded window of frames, an alternative to the LSTM.

`WindowedAttention` is causal. It replaces `lstm.ResidualLSTM` and runs over streams in the same
way: its state are the keys and values of the last frames, as many as a window needs.
`LocalAttention` sees frames on both sides and has no state. The output for a frame depends on the
distances to other frames, not on its position in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.layers.recurrence import SequenceState

_EXPANSION = 2
_BLOCK = 64
_NEVER = -1e9  # finite: where a row of padding sees nothing at all, infinity would give NaN


def unfolded(frames: Tensor, blocks: int, span: int) -> Tensor:
    """Frames (..., n, width) in `blocks` overlapping parts of `span` frames, each of which starts
    `_BLOCK` frames after the one before: (..., blocks, span, width)."""
    return frames.unfold(-2, span, _BLOCK).transpose(-1, -2)


def gathered(frames: Tensor, blocks: int, span: int) -> Tensor:
    """The result of `unfolded`, by indices: the form that ONNX has for any number of frames."""
    index = torch.arange(blocks).unsqueeze(1) * _BLOCK + torch.arange(span)
    shape = (*frames.shape[:-2], blocks, span, frames.shape[-1])
    return frames.index_select(-2, index.flatten()).view(shape)


class AttentionLayer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)); a frame sees itself, the `window` - 1
    frames before it, and `lookahead` frames after it.

    Each head adds a learned value to the score of each distance (as in arXiv 1910.10683, but with
    one value per distance). Dropout acts on the attention weights.
    """

    places: Tensor

    def __init__(
        self, width: int, heads: int, window: int, dropout: float, lookahead: int = 0
    ) -> None:
        super().__init__()
        self.heads, self.window, self.dropout = heads, window, dropout
        self.lookahead = lookahead
        self.overlapping = unfolded
        self.register_buffer("places", self._places(), persistent=False)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.project_in = nn.Linear(width, 3 * width)
        self.distances = nn.Parameter(torch.zeros(heads, window + lookahead))
        self.project_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.contract = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, width) of a whole stream to the same shape."""
        return self.step(x, None)[0]

    def step(
        self, x: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Frames (B, T, width), given the keys and values (B, n, width) of the frames before, n at
        most window - 1; returns the new frames, and the keys and values for the next step."""
        queries, keys, values = self.project_in(self.norm_in(x)).chunk(3, dim=-1)
        if before is not None:
            keys = torch.cat([before[0].to(keys.dtype), keys], dim=1)
            values = torch.cat([before[1].to(values.dtype), values], dim=1)
        x = x + self.project_out(self._attend(queries, keys, values))
        x = x + self.contract(F.gelu(self.expand(self.norm_out(x))))
        first = max(0, keys.shape[1] - self.window + 1)
        return x, (keys[:, first:], values[:, first:])

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of queries (B, T, width), those of the last T frames, over keys and values
        (B, n, width): (B, T, width). Each block of queries meets only the keys in its window."""
        frames, past = queries.shape[1], self.window - 1
        blocks = (frames + _BLOCK - 1) // _BLOCK  # ONNX divides negative integers in another way
        fill = blocks * _BLOCK - frames
        total = keys.shape[1]
        span = _BLOCK + past + self.lookahead
        around = (0, 0, past - (total - frames), fill + self.lookahead)
        # (B, heads, blocks, _BLOCK or span, head width)
        keys, values = (
            self.overlapping(F.pad(self._split(part), around), blocks, span)
            for part in (keys, values)
        )
        queries = F.pad(self._split(queries), (0, 0, 0, fill))
        queries = queries.view(*queries.shape[:2], blocks, _BLOCK, queries.shape[-1])
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(3, 4)
        # At least float32, as the parameters are. Added up first: there is one such table for all
        # streams, and every pass over the scores of all costs time.
        outside = F.pad(self.distances.new_zeros(total, 1), around, value=_NEVER)
        outside = self.overlapping(outside, blocks, span).view(blocks, 1, span)
        scores = scores + (self._distance_scores(span).unsqueeze(1) + outside)
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        attended = (weights.to(values.dtype) @ values).flatten(2, 3)[:, :, :frames]
        return attended.transpose(1, 2).flatten(2)

    def _split(self, frames: Tensor) -> Tensor:
        """Frames (B, n, width) by head: (B, heads, n, head width)."""
        return frames.view(*frames.shape[:2], self.heads, -1).transpose(1, 2)

    def _distance_scores(self, span: int) -> Tensor:
        """The learned values that are added to the scores of a block: (heads, _BLOCK, span)."""
        table = F.pad(self.distances, (0, 1), value=_NEVER)
        return table.index_select(1, self.places).view(-1, _BLOCK, span)

    def _places(self) -> Tensor:
        """For each query of a block and each key around it, the place of their distance in
        `distances`, or the one after its end for keys out of sight: (_BLOCK * span,)."""
        count = self.window + self.lookahead
        queries = torch.arange(_BLOCK, device="cpu").unsqueeze(1)
        keys = torch.arange(_BLOCK + count - 1, device="cpu")
        distance = count - 1 + queries - keys
        outside = (distance < 0) | (distance >= count)
        return distance.masked_fill(outside, count).flatten()


class LocalAttention(nn.Module):
    """`layers` attention layers that see frames on both sides, and therefore have no state.

    A frame depends on `past` frames before it and `future` frames after it.
    """

    def __init__(self, width: int, layers: int, heads: int, window: int, lookahead: int) -> None:
        super().__init__()
        self.past, self.future = layers * (window - 1), layers * lookahead
        self.layers = nn.ModuleList(
            AttentionLayer(width, heads, window, 0.0, lookahead) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape."""
        frames = x.transpose(1, 2)
        for layer in self.layers:
            frames = layer(frames)
        return frames.transpose(1, 2)


class WindowedAttention(nn.Module):
    """`layers` causal attention layers, which run over streams as a `Recurrence`.

    The state are keys and values, each (layers, B, n, width), n at most window - 1. With L layers
    a frame depends on the L * (window - 1) frames before it.
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
        """How many chunks of `chunk` frames must run, from an empty state, before a chunk whose
        outputs equal those of a stream from the start: those that each layer's window covers."""
        windows = [layer.window - 1 for layer in self.layers if isinstance(layer, AttentionLayer)]
        return sum(-(-window // chunk) for window in windows)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape, from the start of a stream."""
        return self.step(x, None)[0]

    def step(self, x: Tensor, state: SequenceState | None) -> tuple[Tensor, SequenceState]:
        """Like `forward`, from a given state; also returns the state after the last frame."""
        frames = x.transpose(1, 2)
        if state is None:
            empty = frames.new_zeros(len(self.layers), len(x), 0, self.width)
            state = (empty, empty)
        after: list[tuple[Tensor, Tensor]] = []
        for layer, keys, values in zip(self.layers, *state, strict=True):
            assert isinstance(layer, AttentionLayer)
            frames, layer_state = layer.step(frames, (keys, values))
            after.append(layer_state)
        keys_after, values_after = (torch.stack(parts) for parts in zip(*after, strict=True))
        return frames.transpose(1, 2), (keys_after, values_after)

    def step_many(
        self, pieces: Sequence[Tensor], states: Sequence[SequenceState | None]
    ) -> list[tuple[Tensor, SequenceState]]:
        """Advance independent streams: (1, width, T) each, T at least 1.

        They run one after another: each is a large matrix product already, unlike an LSTM step.
        """
        return [self.step(piece, state) for piece, state in zip(pieces, states, strict=True)]
