"""What a step of training costs on this CPU, estimated before the first one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.training.step import autocast_of
from bigcodec_models.training.trainer import Trainer

_WEIGHT_COPIES = 5
"""A weight, its average, its gradient and two moments; of a discriminator there is no average."""
_PROGRAM_BYTES = 250_000_000
_TRANSIENTS = 1.6
"""How much more than what is kept for backward passes is there for a while, gradients above all:
with it the estimate is within 3 % of what three presets took (docs/training.md)."""
_GENERATOR_PASSES, _DISCRIMINATOR_PASSES = 3, 10
"""How many times as long as a forward pass all passes of a step take: a backward pass takes as long
as two forward ones, and a discriminator sees real and restored waves, in two steps."""

_QUICK_SECONDS = 3.0
"""A pass that takes less is measured a second time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCost:
    """Parameters of the model, seconds of the next step, and bytes of memory, about: of a step in
    which the discriminators take part."""

    parameters: int
    memory: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Pass:
    """A forward pass over so many samples: its seconds, and the bytes that it keeps for the
    backward pass."""

    samples: int
    seconds: float
    kept: int


def step_cost(trainer: Trainer) -> StepCost:
    """Estimate the cost of a step by forward passes of two crops, one short and one as configured.

    The short one warms up, and tells what is kept of each sample from what is kept once.
    """
    hop, batch = trainer.network.config.hop, trainer.config.batch_size
    length = int(trainer.config.crops.seconds * SAMPLE_RATE) // hop
    least = min(length, trainer.config.losses.longest_window() // hop + 1)
    with torch.random.fork_rng(devices=[]):
        short = _passes(trainer, least * hop)
        whole = _passes(trainer, length * hop)
    kept = [
        once + batch * (each.kept - once)
        for each, less in zip(whole, short, strict=True)
        for once in [_kept_once(less.kept, each.kept, less.samples / each.samples)]
    ]
    generator, discriminators = whole
    parameters, others = _count(trainer.network), _count(trainer.codec_loss)
    weights = 4 * (_WEIGHT_COPIES * parameters + (_WEIGHT_COPIES - 1) * others)
    passes = _GENERATOR_PASSES * generator.seconds
    if trainer.config.adversarial_at(trainer.step):
        passes += _DISCRIMINATOR_PASSES * discriminators.seconds
    return StepCost(
        parameters=parameters,
        memory=_PROGRAM_BYTES + weights + round(_TRANSIENTS * (kept[0] + 2 * kept[1])),
        seconds=batch * passes,
    )


def _kept_once(short: int, whole: int, fraction: float) -> int:
    """The part of what a pass keeps that does not grow with the crop, from two crops of which the
    short one has `fraction` of the length."""
    if fraction >= 1:
        return 0
    return max(0, round((short - fraction * whole) / (1 - fraction)))


def _passes(trainer: Trainer, samples: int) -> tuple[_Pass, _Pass]:
    """A crop of noise through the generator, and what the discriminators see of the result through
    them, in the precision of the run."""
    network, loss = trainer.network, trainer.codec_loss
    wave = 0.1 * torch.randn(1, 1, samples)
    predicted = torch.ones(1, dtype=torch.bool) if network.predicts_f0 else None
    with autocast_of(trainer.config, torch.device("cpu")):
        with torch.no_grad():
            restored = network(wave, predicted).wave
        seen = restored[..., : trainer.config.adversarial.segment_samples() or None]
        generator = _measured(lambda: network(wave, predicted), network, samples)
        return generator, _measured(lambda: loss.discriminate(seen), loss, seen.shape[-1])


def _measured(work: Callable[[], object], module: torch.nn.Module, samples: int) -> _Pass:
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work()
    seconds = time.perf_counter() - start
    del result  # until here, so that no memory is taken for another tensor's
    if seconds < _QUICK_SECONDS:  # the first pass of a shape is a slow one
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
    return _Pass(samples, seconds, sum(kept.values()))


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
