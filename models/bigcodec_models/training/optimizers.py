"""The optimizers of a module: AdamW, or Muon for inner matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bigcodec_models.errors import NonFiniteError
from bigcodec_models.training.config import OptimizerConfig
from bigcodec_models.training.muon import Muon
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

_OUTER = (
    "quantizer.",
    "encoder.project.",
    "decoder.head.",
    "decoder.filter.",
    "decoder.pitch.",
    "decoder.f0_head.output.",
)
"""Matrices that AdamW updates in any case: codes and embeddings, first and last layers."""
_TABLES = ("distances",)
"""Likewise tables of numbers that are not linear maps."""
_ITERATIONS = 3
"""Of Newton and Schulz. The usual five take a quarter of the time of a step of `lite` on a CPU."""
_STATES = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")


class Optimizers:
    """The optimizers of a module, as one.

    With `kind` "muon", Muon has the inner matrices; one learning rate serves both.
    """

    def __init__(self, module: nn.Module, config: OptimizerConfig) -> None:
        self._named = dict(module.named_parameters())
        decay, betas = config.weight_decay, (config.beta1, config.beta2)
        inner = self._inner() if config.kind == "muon" else {}
        others = [parameter for name, parameter in self._named.items() if name not in inner]
        # Fused: one pass over parameters and moments in place of a dozen, on CPUs and GPUs alike.
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, betas=betas, weight_decay=decay, fused=True)
        ]
        if inner:
            muon = Muon(inner.values(), weight_decay=decay, iterations=_ITERATIONS)
            self._parts.append(muon)

    def _inner(self) -> dict[str, nn.Parameter]:
        return {
            name: parameter
            for name, parameter in self._named.items()
            if parameter.dim() == 2 and not name.startswith(_OUTER) and not name.endswith(_TABLES)
        }

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for part in self._parts:
            part.step()

    def moments(self) -> dict[str, Tensor]:
        """The state to save, by STATE/PARAMETER: tensors of the parameter's shape, on the CPU."""
        return {
            f"{key}/{name}": value.detach().cpu()
            for name, parameter in self._named.items()
            for key, value in self._optimizer_of(parameter).state.get(parameter, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `moments` gave."""
        for name, parameter in self._named.items():
            for key in _STATES:
                moment = tensors.get(f"{key}/{name}")
                if moment is not None:
                    value = moment.clone() if key == "step" else moment.to(parameter.device)
                    self._optimizer_of(parameter).state[parameter][key] = value

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        for part in self._parts[1:]:
            if any(parameter is own for group in part.param_groups for own in group["params"]):
                return part
        return self._parts[0]


class SupportsStep(Protocol):
    """An optimizer, or several as one."""

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


def apply_gradients(
    total: Tensor,
    parameters: Iterable[nn.Parameter],
    optimizer: SupportsStep,
    clip_norm: float,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """One step on a loss `total`, a scalar: gradients averaged over all processes and clipped at
    the norm `clip_norm`. Returns their norm before that, a scalar.

    Raises:
        NonFiniteError: before the optimizer's step, in every process.
    """
    parameters = list(parameters)
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    mean = total.detach().clone()
    process_group.all_reduce_mean([mean, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    if not (torch.isfinite(mean) and torch.isfinite(norm)):
        optimizer.zero_grad()
        raise NonFiniteError("the loss or its gradient is not finite")
    optimizer.step()
    return norm
