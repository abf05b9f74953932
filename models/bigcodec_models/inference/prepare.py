"""Faster forms of a network for inference on its device, which compute the same function."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bigcodec_models import precision
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import BigCodecConfig
from bigcodec_models.inference.chunking import Part, Pipeline
from bigcodec_models.inference.matmul_convs import use_matrix_products
from bigcodec_models.inference.pipelines import decoder_pipeline, encoder_pipeline
from bigcodec_models.layers.lstm import LSTMState, ResidualLSTM
from bigcodec_models.layers.recurrence import Recurrence
from bigcodec_models.layers.weight_norm import fold_weight_norm


def pick_device(device: str | torch.device) -> torch.device:
    """The device of a name as in torch; "auto" is "cuda" if there is such a device, else "cpu".

    Raises:
        ValueError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (AssertionError, RuntimeError) as error:  # AssertionError: torch has no CUDA in it
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {str(device)!r} cannot be used: {reason}") from error
    return picked


def prepare(network: CodecNetwork, device: torch.device, half: bool) -> CodecNetwork:
    """Move a network to a device and prepare it for inference; it cannot be trained afterwards.

    `half` concerns the decoder; the encoder and the quantizer stay in float32, since half
    precision would change tokens.
    """
    fold_weight_norm(network)
    network = network.to(device).requires_grad_(False).eval()
    if device.type == "cpu" and isinstance(network.config, BigCodecConfig):
        use_matrix_products(network)
        if _has_numba():
            _compile_lstm(network.encoder, half=False)
            _compile_lstm(network.decoder, half=half)
    return network


def pipelines(
    network: CodecNetwork, device: torch.device, half: bool, f0: str | None
) -> tuple[Pipeline, Pipeline]:
    """The encoder's and the decoder's pipeline of a prepared network.

    `f0` is the F0 mode for encoding. With `half` the last part of the decoder, which takes nearly
    all of its time, runs in bfloat16 where that is faster.
    """
    # Accelerators prefer batches of one shape.
    batched = device.type != "cpu"
    encoder, decoder = encoder_pipeline(network, batched, f0), decoder_pipeline(network, batched)
    if half and precision.bfloat16_pays(device):
        decoder = dataclasses.replace(
            decoder, post_recurrence=_in_half_precision(decoder.post_recurrence, device)
        )
    return _with_compiled_lstm(encoder), _with_compiled_lstm(decoder)


class _LazyCompiledLSTM:
    """The compiled form of an LSTM, compiled when it is first used.

    Compiling takes as long as a lite model takes for a minute of speech.
    """

    def __init__(self, original: ResidualLSTM) -> None:
        self._original = original
        self._compiled: Recurrence | None = None

    def step_many(
        self, pieces: Sequence[Tensor], states: Sequence[LSTMState | None]
    ) -> list[tuple[Tensor, LSTMState]]:
        if self._compiled is None:
            from bigcodec_models.inference.compiled_lstm import FastResidualLSTM

            self._compiled = FastResidualLSTM(self._original)
        return self._compiled.step_many(pieces, states)


def _with_compiled_lstm(pipeline: Pipeline) -> Pipeline:
    """Torch's LSTM runs streams shorter than a window, the compiled one all others."""
    original = pipeline.lstm
    if not isinstance(original, ResidualLSTM) or pipeline.batched or not _has_numba():
        return pipeline
    return dataclasses.replace(pipeline, lstm=_LazyCompiledLSTM(original), short_lstm=original)


def _in_half_precision(part: Part, device: torch.device) -> Part:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            output: Tensor = part(x)
            return output

    return run


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def _compile_lstm(module: nn.Module, half: bool) -> None:
    """Replace the LSTMs of a module by compiled ones, in place; frees torch's weights."""
    from bigcodec_models.inference.compiled_lstm import FastResidualLSTM

    for name, child in list(module.named_children()):
        if isinstance(child, ResidualLSTM):
            setattr(module, name, FastResidualLSTM(child, half))
        else:
            _compile_lstm(child, half)
