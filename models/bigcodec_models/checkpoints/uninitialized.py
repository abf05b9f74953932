"""Building a network without initializing its weights, which are loaded afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import ModelConfig


class _Uninitialized(TorchFunctionMode):
    """Skips the functions that only initialize weights.

    Memory that is not written to is not allocated by the operating system. Torch's own way to
    do this, the "meta" device, imports some 800 modules, which takes a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func is torch.norm_except_dim:
            return args[0].new_empty(len(args[0]), *(1,) * (args[0].ndim - 1))
        if func is Tensor.clone:
            return torch.empty_like(args[0])
        return func(*args, **kwargs)


def build_uninitialized(config: ModelConfig) -> CodecNetwork:
    """The network of a configuration; its parameters hold arbitrary values."""
    with _Uninitialized():
        return CodecNetwork(config)
