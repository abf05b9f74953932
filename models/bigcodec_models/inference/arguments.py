"""Arrays as callers give them: numpy or torch, of one recording or of a batch. What is made of them
is given back as the same kind, on the same device. Loads no torch: who gives a tensor has done so.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import Wave
from bigcodec_models.config import F0_BINS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Given = Any
"""An array of a caller."""
_FAR_BEYOND = 32.0
"""30 dB above full scale: loud recordings stay below it, 16-bit samples do not."""


@dataclasses.dataclass(frozen=True)
class Form:
    """How a caller's array was given: `batched` is false where it had no dimension of recordings;
    `device` is None where it was no tensor."""

    batched: bool
    device: torch.device | None

    def joined(self, results: Sequence[npt.NDArray[Any]]) -> Any:
        """Results of equal shape, one for each recording, in this form."""
        array = np.stack(results) if self.batched else results[0]
        if self.device is None:
            return array
        import torch

        return torch.from_numpy(array).to(self.device)

    def of(self, results: Tensor) -> Any:
        """Results (B, ...) in this form."""
        tensor = results if self.batched else results[0]
        return tensor.detach().cpu().numpy() if self.device is None else tensor.to(self.device)


def split_waves(wave: Given) -> tuple[list[Wave], Form]:
    """The samples (n,) of each recording of (n,), (B, n) or (B, 1, n).

    Raises:
        ValueError: another shape, no recordings, or samples that `as_samples` refuses.
    """
    samples = as_samples(wave)
    if samples.ndim == 3 and samples.shape[1] == 1:
        samples = samples[:, 0]
    if samples.ndim not in (1, 2) or samples.shape[:-1] == (0,):
        raise ValueError(
            f"a wave must have the shape (n,), (B, n) or (B, 1, n), not {tuple(samples.shape)}"
        )
    batched = samples.ndim == 2
    return list(samples) if batched else [samples], Form(batched, _device_of(wave))


def split_tokens(tokens: Given) -> tuple[list[npt.NDArray[Any]], Form]:
    """The tokens (T,) or (T, K) of each recording of those, or of (B, T, K).

    Raises:
        ValueError: no recordings, or no frames of any.
    """
    array = _as_numpy(tokens)
    if array.ndim == 0 or (array.ndim == 3 and not len(array)):
        raise ValueError(f"tokens must have the shape (T,), (T, K) or (B, T, K), not {array.shape}")
    batched = array.ndim == 3
    return list(array) if batched else [array], Form(batched, _device_of(tokens))


def latent_batch(latents: Given, dim: int) -> tuple[Tensor, Form]:
    """Latents (dim, T) or (B, dim, T) as float32 (B, dim, T), differentiable if they are a tensor.

    Raises:
        ValueError: another shape, or no floating-point numbers.
    """
    import torch

    tensor = latents if _is_tensor(latents) else torch.from_numpy(np.asarray(latents))
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point() or shape[-2:-1] != (dim,) or 0 in shape or len(shape) > 3:
        raise ValueError(
            f"latents must be floats of shape ({dim}, T) or (B, {dim}, T), "
            f"not {tensor.dtype} of shape {shape}"
        )
    batched = tensor.ndim == 3
    return (tensor if batched else tensor[None]).float(), Form(batched, _device_of(latents))


def f0_batch(f0: Given, latents: Tensor) -> Tensor:
    """F0 tokens (T,) or (B, T) as int64 (B, T), for latents (B, dim, T).

    Raises:
        ValueError: another shape, or no F0 tokens.
    """
    array, shape = _as_numpy(f0), (len(latents), latents.shape[-1])
    if array.dtype.kind not in "iu" or array.shape not in (shape, shape[1:]):
        raise ValueError(f"F0 tokens must be integers of shape {shape}, not {array.shape}")
    if array.size and not 0 <= array.min() <= array.max() < F0_BINS:
        raise ValueError(f"F0 tokens must be in [0, {F0_BINS})")
    if array.ndim == 1 and len(latents) > 1:
        raise ValueError(f"F0 tokens must be integers of shape {shape}, not {array.shape}")
    import torch

    return torch.from_numpy(array.astype(np.int64).reshape(shape))


def as_samples(wave: Given) -> Wave:
    """Samples of any shape as float32 in memory of the CPU.

    Raises:
        ValueError: they are no floating-point numbers, not finite, or far beyond full scale, which
            is 1.0.
    """
    array = _as_numpy(wave)
    if array.dtype.kind != "f":
        raise ValueError(
            f"samples must be floating-point numbers with full scale 1.0, not {array.dtype}; "
            "divide 16-bit integers by 32768"
        )
    samples = np.asarray(array, dtype=np.float32, order="C")
    highest = float(np.maximum(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if not np.isfinite(highest):
        raise ValueError("the wave holds values that are not finite")
    if highest > _FAR_BEYOND:
        raise ValueError(
            f"samples reach {highest:.6g} where full scale is 1.0; "
            "divide those that came from 16-bit integers by 32768"
        )
    return samples


def _as_numpy(array: Given) -> npt.NDArray[Any]:
    if not _is_tensor(array):
        return np.asarray(array)
    tensor = array.detach().cpu()
    numbers: npt.NDArray[Any] = (
        tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    ).numpy()
    return numbers


def _device_of(array: Given) -> torch.device | None:
    return array.device if _is_tensor(array) else None


def _is_tensor(array: Given) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)
