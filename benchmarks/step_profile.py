"""The time of the parts of a training step, and its number of operations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import table
from bigcodec_models.training.trainer import Trainer

_PARTS = (
    "generator, forward",
    "discriminators, losses",
    "discriminators, backward",
    "generator, losses",
    "generator, backward",
    "optimizers",
)
_SHOWN = 8
_LSTM_OPERATIONS = 16  # a frame and layer, in units of width squared: two products of 4 w by w


def operations(trainer: Trainer, wave: Tensor) -> float:
    """Operations of the products of one step, forward and backward. This runs a training step.

    torch counts convolutions and matrix products, but not those inside its LSTM.
    """
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(wave)
    frames = wave.shape[0] * wave.shape[-1] / trainer.network.config.hop
    layers = [part for part in trainer.network.modules() if isinstance(part, nn.LSTM)]
    lstm = sum(part.num_layers * _LSTM_OPERATIONS * part.hidden_size**2 for part in layers)
    return float(counter.get_total_flops()) + 3 * lstm * frames  # backward has twice as many


def profiled(trainer: Trainer, wave: Tensor) -> str:
    """Two tables of a training step: its parts, and the slowest operators."""
    activities = [ProfilerActivity.CPU]
    with _named_parts(trainer), profile(activities=activities) as recorded, record_function("step"):
        trainer.train_step(wave)
    events = {event.key: event for event in recorded.key_averages()}
    whole = events["step"].cpu_time_total
    spent = {name: events[name].cpu_time_total for name in _PARTS}
    spent["the rest"] = whole - sum(spent.values())
    others = [event for name, event in events.items() if name not in (*_PARTS, "step")]
    others.sort(key=lambda event: -event.self_cpu_time_total)
    slowest = {event.key: event.self_cpu_time_total for event in others[:_SHOWN]}
    return "\n\n".join([_table("part of a step", spent, whole), _table("operator", slowest, whole)])


def _table(head: str, spent: dict[str, float], whole: float) -> str:
    rows = [[name, f"{t / 1e6:.2f}", f"{100 * t / whole:.0f} %"] for name, t in spent.items()]
    return table([head, "seconds", "of the step"], rows)


@contextlib.contextmanager
def _named_parts(trainer: Trainer) -> Iterator[None]:
    """Gives the parts of a step their names in the profile."""
    codec_loss = trainer.codec_loss
    backward = iter(("discriminators, backward", "generator, backward"))
    original = Tensor.backward

    def named_backward(*args: Any, **kwargs: Any) -> None:
        with record_function(next(backward)):
            original(*args, **kwargs)  # type: ignore[no-untyped-call]

    with contextlib.ExitStack() as stack:
        _name(stack, trainer.network, "forward", "generator, forward")
        _name(stack, codec_loss, "discriminator_losses", "discriminators, losses")
        _name(stack, codec_loss, "generator_losses", "generator, losses")
        for optimizer in trainer.optimizers.values():
            _name(stack, optimizer, "step", "optimizers")
        Tensor.backward = named_backward  # type: ignore[method-assign]
        stack.callback(lambda: setattr(Tensor, "backward", original))
        yield


def _name(stack: contextlib.ExitStack, owner: Any, method: str, name: str) -> None:
    """Puts a method behind a named one, on the instance alone, until the stack unwinds."""
    original: Callable[..., Any] = getattr(owner, method)

    def named(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return original(*args, **kwargs)

    setattr(owner, method, named)
    stack.callback(lambda: delattr(owner, method))
