"""The residual LSTM that both families put beside their quantiser."""

from __future__ import annotations

from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell state, each (layers, B, width)."""


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
        """Like `forward`, from a given state, returning the state after the last frame."""
        frames = x.transpose(1, 2)
        output, after = self.lstm(frames, state)
        return (output + frames).transpose(1, 2), after
