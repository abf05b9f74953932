"""Muon beside AdamW: which parameters each has, and what updates look like."""

from __future__ import annotations

import pytest
import torch

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS
from bigcodec_models.training import muon
from bigcodec_models.training.config import OptimizerConfig
from bigcodec_models.training.optimizers import Optimizers

MUON = OptimizerConfig(kind="muon")


def with_momentum(optimizers: Optimizers) -> set[str]:
    names = (key.split("/", 1) for key in optimizers.moments())
    return {name for state, name in names if state == "momentum_buffer"}


def stepped(preset: str) -> tuple[CodecNetwork, Optimizers, dict[str, torch.Tensor]]:
    """A network after one step on random gradients, and its parameters' changes."""
    torch.manual_seed(1)
    network = CodecNetwork(PRESETS[preset])
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for value in network.parameters():
        value.grad = torch.randn_like(value)
    optimizers = Optimizers(network, MUON)
    optimizers.set_rate(1e-3)
    optimizers.step()
    decay = 1 - 1e-3 * MUON.weight_decay
    now = network.named_parameters()
    return network, optimizers, {name: value.detach() - decay * before[name] for name, value in now}


def test_muon_has_the_inner_matrices_and_nothing_else() -> None:
    _, optimizers, _ = stepped("toy-harmonic")
    names = with_momentum(optimizers)
    assert "decoder.blocks.1.expand.weight" in names and "encoder.lstm.lstm.weight_hh_l1" in names
    outer = ("quantizer", "head", "filter", "pitch", "project", "embed", "norm", "bias", "scale")
    assert not [name for name in names if any(word in name for word in outer)]
    attention = with_momentum(stepped("toy-single")[1])
    assert "decoder.attention.layers.0.project_in.weight" in attention
    assert "decoder.f0_head.block.expand.weight" in attention
    assert not [n for n in attention if n.endswith("distances") or "f0_head.output" in n]
    lstms = with_momentum(stepped("toy")[1])
    assert lstms and all("lstm" in name for name in lstms)


def test_updates_are_nearly_orthogonal_and_as_large_as_those_of_adamw() -> None:
    network, optimizers, changes = stepped("toy-harmonic")
    gradients = dict(network.named_parameters())
    for name in with_momentum(optimizers):
        update, gradient = (
            torch.linalg.svdvals(matrix)
            for matrix in (changes[name], gradients[name].grad.float())  # type: ignore[union-attr]
        )
        spread = float(gradient[0] / gradient.median())
        assert update[0] / update.median() < min(1.6, spread + 0.1)
        assert changes[name].square().mean().sqrt() == pytest.approx(0.2e-3, rel=0.4)


@pytest.mark.parametrize("half", [False, True])
def test_updates_are_those_of_torch(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration of torch is always in bfloat16: results agree to that, in either precision."""
    monkeypatch.setattr(muon, "bfloat16_pays", lambda device: half)
    generator = torch.Generator().manual_seed(4)
    shapes = [(12, 30), (30, 12), (12, 30), (16, 16)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    own, reference = ([torch.nn.Parameter(x.clone()) for x in start] for _ in range(2))
    optimizers = (
        muon.Muon(own, lr=0.02, weight_decay=0.1, iterations=3),
        torch.optim.Muon(
            reference, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", ns_steps=3
        ),
    )
    for _ in range(4):
        for parameter, target in zip(own, reference, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            target.grad = parameter.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for parameter, target, before in zip(own, reference, start, strict=True):
        assert (parameter - target).norm() < 0.02 * (target - before).norm()


def test_matrices_without_a_gradient_stay() -> None:
    still, moved = torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(3, 4))
    moved.grad = torch.randn(3, 4)
    muon.Muon([still, moved]).step()
    assert torch.equal(still, torch.ones(3, 4)) and not torch.equal(moved, still)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_rate_stays_where_it_is(kind: str) -> None:
    """A step that was captured as a CUDA graph reads it there."""
    optimizers = Optimizers(CodecNetwork(PRESETS["toy-single"]), OptimizerConfig(kind=kind))
    before = [group["lr"] for part in optimizers._parts for group in part.param_groups]
    assert all(isinstance(rate, torch.Tensor) for rate in before)
    optimizers.set_rate(0.25)
    after = [group["lr"] for part in optimizers._parts for group in part.param_groups]
    assert all(a is b and float(a) == 0.25 for a, b in zip(after, before, strict=True))


def test_tall_and_wide_matrices_get_the_updates_of_each_alone() -> None:
    torch.manual_seed(5)
    shapes = [(6, 10), (10, 6), (6, 10), (8, 8)]
    together = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    alone = [torch.nn.Parameter(x.detach().clone()) for x in together]
    for a, b in zip(together, alone, strict=True):
        a.grad = torch.randn(a.shape)
        b.grad = a.grad.clone()
    optimizer = muon.Muon(together)
    singles = [muon.Muon([matrix]) for matrix in alone]
    for step in (optimizer, *singles):
        step.step()
    for a, b, single in zip(together, alone, singles, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
        momentum = optimizer.state[a]["momentum_buffer"]
        assert torch.allclose(momentum, single.state[b]["momentum_buffer"])
        assert momentum.is_contiguous()
