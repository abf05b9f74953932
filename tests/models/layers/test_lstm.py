"""The LSTM in training: dropout that a CUDA graph can hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bigcodec_models.layers.lstm import ResidualLSTM


@pytest.mark.parametrize("with_state", [False, True])
def test_dropout_between_layers_is_that_of_torch(with_state: bool) -> None:
    """Bit for bit and with the same random numbers, values and gradients alike."""
    torch.manual_seed(0)
    layer = ResidualLSTM(12, 3, dropout=0.5).train()
    x = torch.randn(2, 12, 20)
    state = (torch.randn(3, 2, 12), torch.randn(3, 2, 12)) if with_state else None
    torch.manual_seed(1)
    output, after = layer.step(x, state)
    torch.manual_seed(1)
    frames = x.transpose(1, 2)
    expected, expected_after = layer.lstm(frames, state)
    assert torch.equal(output, (expected + frames).transpose(1, 2))
    assert all(torch.equal(a, b) for a, b in zip(after, expected_after, strict=True))
    weights = list(layer.parameters())
    gradients = torch.autograd.grad(output.square().sum(), weights)
    others = torch.autograd.grad((expected + frames).square().sum(), weights)
    for one, other in zip(gradients, others, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_torchs_own_dropout_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU it waits for the device after each seeding, and cannot be captured."""
    layer = ResidualLSTM(8, 2, dropout=0.5).train()

    def refused(*args: Any) -> None:
        raise AssertionError("nn.LSTM has run with dropout")

    monkeypatch.setattr(layer.lstm, "forward", refused)
    x = torch.randn(1, 8, 30)
    outputs = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        outputs.append(layer(x))
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])
