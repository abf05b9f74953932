"""The recurrent stage of the encoder and of the decoder: the residual LSTM and its interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.layers.recurrence import Recurrence
from bigcodec_models.precision import bfloat16_lstm_runs

_ALONE_ON_CPU = True

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell state, each (layers, B, width)."""


def find_recurrence(module: nn.Module) -> Recurrence | None:
    """The first sequence layer inside a module, or None."""
    for part in module.modules():
        if hasattr(part, "step_many"):
            return cast(Recurrence, part)
    return None


class ResidualLSTM(nn.Module):
    """y = x + lstm(x), running forward in time only (paper section 2.1)."""

    def __init__(self, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=between)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape, from a zero state."""
        return self.step(x, None)[0]

    def step(self, x: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """Like `forward`, from a given state; also returns the state after the last frame."""
        frames = x.transpose(1, 2)
        if frames.dtype == torch.bfloat16 or torch.is_autocast_enabled(x.device.type):
            output, after = self._step_in_half(frames, state)
        else:
            output, after = self._run(frames, state)
        return (output + frames).transpose(1, 2), after

    def _step_in_half(self, frames: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """The LSTM under autocast, or in single precision where torch cannot run it in bfloat16."""
        if frames.device.type != "cpu" or bfloat16_lstm_runs():
            return self._run(frames, state)
        with torch.autocast("cpu", enabled=False):
            return self._run(frames.float(), state)

    def _run(self, frames: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """The LSTM itself, on frames (B, T, width)."""
        if self.training and self.lstm.dropout:
            return self._layer_by_layer(frames, state)
        return cast(tuple[Tensor, LSTMState], self.lstm(frames, state))

    def _layer_by_layer(self, frames: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """The same with dropout between the layers, by torch.

        That of cuDNN draws a seed on the device and reads it back whenever torch was seeded, which
        a training run does before each step: the host would wait, and no CUDA graph be captured.
        """
        lstm, x = self.lstm, frames.transpose(0, 1)
        if state is None:
            zeros = x.new_zeros(lstm.num_layers, len(frames), lstm.hidden_size)
            state = (zeros, zeros)
        after: list[tuple[Tensor, Tensor]] = []
        for index, weights in enumerate(lstm.all_weights):
            start = [part[index : index + 1] for part in state]
            x = F.dropout(x, lstm.dropout) if index else x
            with warnings.catch_warnings():
                # The weights of all layers lie together; cuDNN copies those of one, and says so.
                warnings.filterwarnings("ignore", "RNN module weights are not part")
                x, *end = torch.lstm(
                    x, start, list[Tensor](weights), True, 1, 0.0, True, False, False
                )
            after.append((end[0], end[1]))
        hidden, cell = (torch.cat(parts) for parts in zip(*after, strict=True))
        return x.transpose(0, 1), (hidden, cell)

    def step_many(
        self, pieces: Sequence[Tensor], states: Sequence[LSTMState | None]
    ) -> list[tuple[Tensor, LSTMState]]:
        """Advance independent streams: (1, width, T) each, T at least 1.

        On a CPU they run one after another, so that each gets the same results as alone; elsewhere
        those of equal length run as a batch.
        """
        results: list[tuple[Tensor, LSTMState]] = [None] * len(pieces)  # type: ignore[list-item]
        for group in _equal_lengths(pieces):
            batch = torch.cat([pieces[index] for index in group])
            output, after = self.step(batch, self._joined([states[index] for index in group]))
            for row, index in enumerate(group):
                hidden, cell = (part[:, row : row + 1] for part in after)
                results[index] = (output[row : row + 1], (hidden, cell))
        return results

    def _joined(self, states: Sequence[LSTMState | None]) -> LSTMState:
        example = next(self.lstm.parameters())
        zeros = example.new_zeros(self.lstm.num_layers, 1, self.lstm.hidden_size)
        given = [(zeros, zeros) if state is None else state for state in states]
        hidden, cell = (torch.cat(parts, dim=1) for parts in zip(*given, strict=True))
        return hidden, cell


def _equal_lengths(pieces: Sequence[Tensor]) -> list[list[int]]:
    """Groups of indices of the pieces that share a batch."""
    groups: dict[int, list[int]] = {}
    for index, piece in enumerate(pieces):
        alone = _ALONE_ON_CPU and piece.device.type == "cpu"
        groups.setdefault(index if alone else -piece.shape[-1], []).append(index)
    return list(groups.values())
