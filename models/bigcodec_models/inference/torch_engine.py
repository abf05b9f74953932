"""The engine that runs a model in torch, on any device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.arrays import Tokens
from bigcodec_models.checkpoints.model_file import LoadedModel, build_network
from bigcodec_models.inference.engine import Engine
from bigcodec_models.inference.prepare import pick_device, pipelines, prepare


class TorchEngine:
    """A model in torch; see `Engine`. `half` decodes in bfloat16 where that is faster, and `f0` is
    the F0 mode for encoding."""

    name = "torch"

    def __init__(
        self, model: LoadedModel, device: str | torch.device, half: bool, f0: str | None
    ) -> None:
        self.device = self._device = pick_device(device)
        self.side_by_side = self._device.type == "cpu"
        self._latent_dim = model.config.latent_dim
        self.network = prepare(build_network(model), self._device, half)
        self.encoder, self.decoder = pipelines(self.network, self._device, half, f0)

    def from_numpy(self, array: npt.NDArray[Any]) -> Tensor:
        """As in `Engine`."""
        return torch.from_numpy(array).to(self._device)

    def to_numpy(self, array: Tensor) -> npt.NDArray[Any]:
        """As in `Engine`."""
        result: npt.NDArray[Any] = array.cpu().numpy()
        return result

    @torch.inference_mode()
    def quantize(self, latents: Tensor) -> Tokens:
        """As in `Engine`."""
        dim = self._latent_dim
        codes = self.network.quantizer.encode(latents[:, :dim])
        f0 = latents[:, dim:].long().transpose(1, 2)
        tokens: Tokens = torch.cat([codes, f0], dim=-1)[0].cpu().numpy()
        return tokens


def network_of(engine: Engine) -> CodecNetwork:
    """The network that an engine runs in torch.

    Raises:
        TypeError: it runs in something else.
    """
    if not isinstance(engine, TorchEngine):
        raise TypeError("the engine does not run in torch")
    return engine.network
