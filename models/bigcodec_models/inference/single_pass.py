"""Tokens to latents and latents to waves in a single pass, as torch differentiates it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from bigcodec_models.architectures.lite import LiteDecoder
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, build_network


def differentiable_network(model: LoadedModel, device: torch.device) -> CodecNetwork:
    """A network of a model with weights of its own, which may be trained."""
    tensors = {name: tensor.clone() for name, tensor in model.tensors.items()}
    network = build_network(dataclasses.replace(model, tensors=tensors))
    for module in network.modules():
        if isinstance(module, nn.LSTM):  # on a GPU it has gradients in training mode only
            module.dropout = 0.0
            module.train()
    return network.to(device)


def embed_codes(network: CodecNetwork, codes: Tensor) -> Tensor:
    """What `Quantizer.decode` gives, with gradients: int64 (B, T, N) to latents (B, dim, T)."""
    columns, groups = iter(codes.unbind(dim=-1)), []
    for codebooks in network.quantizer.groups():
        parts = [book.out_proj(book.embed(next(columns))) for book in codebooks]
        groups.append(torch.stack(parts).sum(dim=0))
    return torch.cat(groups, dim=-1).transpose(1, 2)


def restore(network: CodecNetwork, latents: Tensor, f0: Tensor | None) -> Tensor:
    """The wave (B, T * hop) of latents (B, dim, T) and F0 tokens (B, T), where the decoder takes
    some.

    Raises:
        ValueError: the decoder needs F0 tokens, or takes none.
    """
    decoder = network.decoder
    if f0 is not None and network.tracker is None:
        raise ValueError("this model has no F0 tokens; leave f0 out")
    if f0 is None and network.tracker is not None and not network.predicts_f0:
        raise ValueError("this model's decoder needs F0 tokens: give f0, such as tokens[..., -1]")
    wave: Tensor = decoder(latents, f0) if isinstance(decoder, LiteDecoder) else decoder(latents)
    return wave[:, 0]
