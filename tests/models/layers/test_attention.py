"""Attention in the LSTM's place: its window, its state, and that it learns."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from bigcodec_models import Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import (
    PRESETS,
    ConfigError,
    ModelConfig,
    config_from_dict,
    config_to_dict,
)
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.inference import chunking
from bigcodec_models.layers.attention import AttentionLayer, WindowedAttention
from bigcodec_models.layers.lstm import ResidualLSTM, find_recurrence
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer

FAMILIES = pytest.mark.parametrize("preset", ["toy", "toy-lite"])


def attention(window: int = 5, layers: int = 2) -> WindowedAttention:
    torch.manual_seed(0)
    stack = WindowedAttention(12, layers, heads=3, window=window).double().eval()
    for layer in stack.layers:
        assert isinstance(layer, AttentionLayer)
        torch.nn.init.normal_(layer.distances)
    return stack


def with_attention(preset: str, window: int = 30) -> ModelConfig:
    return replace(PRESETS[preset], sequence="attention", attention_window=window)


def test_a_layer_is_what_its_definition_says() -> None:
    """Head by head and frame by frame, in numpy."""
    (layer,) = attention(window=4, layers=1).layers
    assert isinstance(layer, AttentionLayer)
    x = torch.randn(1, 9, 12, dtype=torch.float64)
    nothing = x.new_zeros(1, 0, 12)
    with torch.no_grad():
        result, _ = layer.step(x, (nothing, nothing))
        projected = layer.project_in(layer.norm_in(x))[0].numpy().reshape(9, 3, 3, 4)
        seen = np.zeros((9, 3, 4))
        for frame in range(9):
            for head in range(3):
                past = range(max(0, frame - 3), frame + 1)
                scores = np.array([
                    projected[frame, 0, head] @ projected[other, 1, head] / math.sqrt(4)
                    + float(layer.distances[head, frame - other])
                    for other in past
                ])  # fmt: skip
                shares = np.exp(scores) / np.exp(scores).sum()
                for share, other in zip(shares, past, strict=True):
                    seen[frame, head] += share * projected[other, 2, head]
        y = x + layer.project_out(torch.from_numpy(seen.reshape(1, 9, 12)))
        hidden = torch.nn.functional.gelu(layer.expand(layer.norm_out(y)))
        expected = y + layer.contract(hidden)
    assert torch.allclose(result, expected, atol=1e-12)


def test_a_frame_sees_its_window_and_nothing_else() -> None:
    """Two layers of five frames: a change is seen in nine frames from its own on."""
    x = torch.randn(1, 12, 40, dtype=torch.float64)
    other = x.clone()
    other[..., 20] = torch.randn(12, dtype=torch.float64)
    module = attention()
    with torch.no_grad():
        changed = (module(x) - module(other)).abs().amax(dim=1)[0] > 1e-12
    assert changed.nonzero().flatten().tolist() == list(range(20, 29))


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (3, 20, 1, 16), (39, 1)])
def test_pieces_give_what_the_whole_gives_in_bounded_memory(sizes: tuple[int, ...]) -> None:
    x = torch.randn(1, 12, 40, dtype=torch.float64)
    module, state, result = attention(), None, []
    with torch.no_grad():
        whole = module(x)
        for piece in torch.split(x, list(sizes), dim=-1):
            ((output, state),) = module.step_many([piece], [state])
            result.append(output)
            assert all(part.shape[:2] == (2, 1) and part.shape[2] <= 4 for part in state)
    assert torch.allclose(torch.cat(result, dim=-1), whole, atol=1e-12)


@FAMILIES
def test_it_is_there_in_both_halves_and_only_if_asked_for(preset: str) -> None:
    network = CodecNetwork(with_attention(preset))
    for half in (network.encoder, network.decoder):
        assert isinstance(find_recurrence(half.lstm), WindowedAttention)
        assert not any(isinstance(part, ResidualLSTM) for part in half.modules())
    plain = CodecNetwork(PRESETS[preset])
    assert isinstance(find_recurrence(plain.encoder.lstm), ResidualLSTM)
    assert find_recurrence(CodecNetwork(replace(PRESETS[preset], lstm_layers=0))) is None


@FAMILIES
def test_configurations_come_back_and_earlier_ones_are_stored_as_before(preset: str) -> None:
    config = with_attention(preset)
    assert config_from_dict(config_to_dict(config)) == config
    assert not {"sequence", "attention_window"} & config_to_dict(PRESETS[preset]).keys()
    for changes in ({"sequence": "gru"}, {"attention_window": 0}, {"attention_heads": 7}):
        with pytest.raises(ConfigError):
            replace(config, **changes)


@FAMILIES
@pytest.mark.parametrize("window", [25, 90])
def test_cut_batch_and_seek_change_no_bit(
    preset: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With windows of half a chunk and of more than two."""
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", 40)
    torch.manual_seed(5)
    config = with_attention(preset, window)
    tensors = CodecNetwork(config).state_dict()
    info = ModelInfo(name="", license="")
    codec = Codec(LoadedModel(config=config, info=info, tensors=tensors))
    random = np.random.default_rng(0)
    waves = [(0.1 * random.standard_normal(n)).astype(np.float32) for n in (31_999, 7000, 200)]
    tokens = [codec.encode(wave) for wave in waves]
    for batched, alone in zip(codec.encode_batch(waves, 3), tokens, strict=True):
        assert np.array_equal(batched, alone)
    pieces = np.split(waves[0], [1, 300, 301, 15_000, 28_001])
    assert np.array_equal(np.concatenate(list(codec.encode_stream(pieces))), tokens[0])
    whole = codec.decode(tokens[0])
    parts = codec.decode_stream(np.split(tokens[0], [1, 2, 70, 159]))
    assert np.array_equal(np.concatenate(list(parts)), whole)
    assert np.array_equal(codec.decode(tokens[0], 5000, 26_123), whole[26_123:31_123])
    assert np.array_equal(codec.decode_batch(tokens, 3)[0], whole)


@pytest.fixture
def batch(speech: Path, tmp_path: Path) -> Tensor:
    wave, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(tmp_path / "one.wav", wave, 16000)
    source = CropSource(scan(tmp_path), crop=8000, seed=4)
    return torch.from_numpy(source.batch(0, 2)).unsqueeze(1)


@FAMILIES
def test_it_learns_a_fixed_batch(preset: str, batch: Tensor, tmp_path: Path) -> None:
    config = with_attention(preset)
    settings = {
        "batch_size": 2,
        "crops": {"seconds": 0.5},
        "optimizer": {"learning_rate": 2e-3, "final_learning_rate": 2e-3, "warmup_steps": 0},
        "losses": {"mel_windows": [128, 512]},
        "discriminators": {"preset": "none"},
    }
    recipe = with_settings(recipe_for(config), settings)
    source = CropSource(scan(tmp_path), crop=8000, seed=4)
    trainer = Trainer(config, recipe, source, tmp_path / "run", "cpu")
    before = {k: v.clone() for k, v in trainer.network.named_parameters() if "lstm" in k}
    losses = [float(trainer.train_step(batch)["mel"]) for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]
    logging.info("%s: mel %.2f to %.2f in %d steps", preset, losses[0], losses[-1], len(losses))
    after = dict(trainer.network.named_parameters())
    assert len(before) == 52 and all(not torch.equal(after[k], v) for k, v in before.items())
