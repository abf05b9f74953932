"""The optimizers of a module: AdamW, or Muon for inner matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

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

    With `kind` "muon", Muon has the inner matrices; one learning rate serves both. The rate is a
    tensor on the device, so that steps that were captured as a CUDA graph follow it.
    """

    def __init__(self, module: nn.Module, config: OptimizerConfig) -> None:
        self._named = dict(module.named_parameters())
        device = next(iter(self._named.values())).device
        self._device, self._rate = device, torch.zeros((), device=device)
        decay, betas = config.weight_decay, (config.beta1, config.beta2)
        inner = self._inner() if config.kind == "muon" else {}
        others = [parameter for name, parameter in self._named.items() if name not in inner]
        # Fused: one pass over parameters and moments in place of a dozen, on CPUs and GPUs alike.
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=self._rate, betas=betas, weight_decay=decay, fused=True)
        ]
        if inner:
            self._parts.append(
                Muon(inner.values(), lr=self._rate, weight_decay=decay, iterations=_ITERATIONS)
            )

    def _inner(self) -> dict[str, nn.Parameter]:
        return {
            name: parameter
            for name, parameter in self._named.items()
            if parameter.dim() == 2 and not name.startswith(_OUTER) and not name.endswith(_TABLES)
        }

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        self._rate.fill_(rate)

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, with and without a gradient."""
        return list(self._named.values())

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, skip: Tensor | None = None) -> None:
        """Update every parameter that has a gradient; nothing changes if `skip`, a float32 scalar
        on the device, is 1."""
        captured = self._device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        for part in self._parts:
            part.found_inf = skip  # type: ignore[attr-defined]  # as torch's gradient scaler does
            for group in part.param_groups:
                group["capturable"] = captured  # or else torch warns, or refuses to be captured
            part.step()

    def moments(self, prefix: str = "") -> dict[str, Tensor]:
        """The state to save, by `prefix`STATE/PARAMETER: tensors of the parameter's shape, on the
        CPU."""
        return {
            f"{prefix}{key}/{name}": value.detach().cpu()
            for name, parameter in self._named.items()
            for key, value in self._optimizer_of(parameter).state.get(parameter, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Restore what `moments` gave with this prefix."""
        for name, parameter in self._named.items():
            for key in _STATES:
                moment = tensors.get(f"{prefix}{key}/{name}")
                if moment is not None:
                    value = moment.to(parameter.device, copy=True)
                    self._optimizer_of(parameter).state[parameter][key] = value

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        for part in self._parts[1:]:
            if any(parameter is own for group in part.param_groups for own in group["params"]):
                return part
        return self._parts[0]


def clipped_gradients(
    total: Tensor,
    parameters: Iterable[nn.Parameter],
    clip_norm: float,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Give `parameters`, which have none, the gradients of a loss `total`, a scalar: averaged over
    all processes and clipped at the norm `clip_norm`.

    Returns their norm before that, and 1 if loss and gradients are finite in every process, else 0:
    float32 scalars.
    """
    parameters = list(parameters)
    total.backward()  # type: ignore[no-untyped-call]
    mean = total.detach().float().clone()
    process_group.all_reduce_mean([mean, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    return norm, (torch.isfinite(mean) & torch.isfinite(norm)).float()
