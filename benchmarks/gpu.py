"""Speed on a GPU, compared with the plain modules of the same network in eager float32.

    python -m benchmarks.gpu [--device cuda] [--seconds 30]
    python -m benchmarks.gpu --rehearse      # toy models on the CPU, nothing written
    python -m benchmarks.gpu --training [--seconds 100] [--out FILE]    # training steps instead

lite-4 is the built-in model, the presets have random weights. "plain" is the same network
with torch's LSTM, unfused activations and no chunks, given the same batch. Every result is
compared with that of float32 on the CPU. Without a GPU the section says 'not measured'.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

# Machines with a GPU are lent for minutes: nothing need be installed there.
_ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "models"), str(_ROOT / "format")]

# ruff: noqa: E402
from benchmarks.checks import differences, noise, random_model, snr
from benchmarks.gpu_training import TrainingBenchmark
from benchmarks.report import best_of, load_before, machine, table, write_section
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.checkpoints.model_file import LoadedModel, build_network
from bigcodec_models.codec import Codec, read_model
from bigcodec_models.config import PRESETS, SAMPLE_RATE
from bigcodec_models.layers.activation import AliasFreeSnakeBeta
from bigcodec_models.layers.weight_norm import fold_weight_norm

_MODELS = ("lite-4", "lite", "bigcodec-base", "bigcodec")
_TOYS = ("toy-harmonic", "toy-single", "toy")
_BATCHES = (1, 16)
_ROUNDS = 3
_HEAD = (
    "model",
    "batch",
    "encode: plain",
    "codec",
    "decode: plain",
    "codec",
    "codec, bfloat16",
    "agreement with float32 on the CPU",
)


def main() -> None:
    """Run the benchmark and write its section, or rehearse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=_default_device())
    parser.add_argument("--seconds", type=int, help="of each file, or for all training steps")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--out", type=Path, help="file for the lines about training steps")
    options = parser.parse_args()
    if options.training:
        small = options.rehearse or options.device in (None, "cpu")
        device = "cpu" if small else options.device
        TrainingBenchmark(device, options.seconds or 100, options.out, small=small).run()
        return
    options.seconds = options.seconds or 30
    if options.rehearse:
        print(table(_HEAD, list(_rows("cpu", _TOYS, options.seconds))))
        return
    if options.device is None:
        rows = [[name, str(batch), *["not measured"] * 6] for name in _MODELS for batch in _BATCHES]
        write_section("GPU", "No GPU was at hand.\n\n" + table(_HEAD, rows))
        return
    load = load_before()
    rows = list(_rows(options.device, _MODELS, options.seconds))
    text = (
        f"{_device_name(options.device)}. {machine(load)}\n\nTimes real time, for all files of a "
        f"batch together; {options.seconds} s of noise each, best of {_ROUNDS} rounds in turn.\n\n"
    )
    write_section("GPU", text + table(_HEAD, rows))


def _default_device() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _rows(device: str, names: tuple[str, ...], seconds: int) -> Iterator[list[str]]:
    for name in names:
        model = read_model(name) if name == "lite-4" else random_model(PRESETS[name])
        benchmark = GpuBenchmark(model, device)
        for batch in _BATCHES:
            waves = [noise(seconds * SAMPLE_RATE, seed) for seed in range(batch)]
            yield [name, str(batch), *benchmark.run(waves)]


@dataclasses.dataclass
class GpuBenchmark:
    """A model on a device: as a codec in float32 and bfloat16, as plain modules; and on the CPU."""

    model: LoadedModel
    device: str

    def __post_init__(self) -> None:
        self.reference = Codec(self.model)
        self.codec = Codec(self.model, self.device)
        self.bfloat16 = Codec(self.model, self.device, precision="bfloat16")
        self.plain = _plain(self.model).to(self.device)

    def run(self, waves: list[Wave]) -> list[str]:
        """A row: the speed of five tasks in times real time, and how well results agree."""
        audio = sum(len(wave) for wave in waves) / SAMPLE_RATE
        expected = self.reference.encode_batch(waves[:1])[0]
        tokens = self.codec.encode_batch(waves, len(waves))
        samples = torch.stack([torch.from_numpy(wave) for wave in waves]).unsqueeze(1)
        frames = torch.stack([torch.from_numpy(each).view(len(each), -1) for each in tokens])
        tasks: dict[str, Callable[[], object]] = {
            "plain encode": lambda: self._plain_encode(samples),
            "encode": lambda: self.codec.encode_batch(waves, len(waves)),
            "plain decode": lambda: self._plain_decode(frames),
            "decode": lambda: self.codec.decode_batch(tokens, len(waves)),
            "bfloat16 decode": lambda: self.bfloat16.decode_batch(tokens, len(waves)),
        }
        best_of(1, tasks)  # compiles, and lets libraries choose kernels
        seconds = best_of(_ROUNDS, tasks)
        return [*(f"{audio / value:.1f}" for value in seconds.values()),
                self._agreement(waves[0], expected, tokens)]  # fmt: skip

    def _agreement(self, wave: Wave, expected: Tokens, tokens: Sequence[Tokens]) -> str:
        latent = torch.from_numpy(self.reference.latents(wave))
        target = self.reference.decode(expected)
        # In a full batch, as the other files are.
        batch = [expected] * len(tokens)
        decoded = self.codec.decode_batch(batch, len(batch))[-1]
        bfloat16 = self.bfloat16.decode_batch(batch, len(batch))[-1]
        return (
            f"{differences(self.reference, latent, expected, tokens[0])}; samples within "
            f"{abs(decoded - target).max():.1e}; bfloat16 SNR {snr(target, bfloat16):.0f} dB"
        )

    @torch.inference_mode()
    def _plain_encode(self, samples: Tensor) -> Tensor:
        return self.plain.encode(samples.to(self.device)).cpu()

    @torch.inference_mode()
    def _plain_decode(self, tokens: Tensor) -> Tensor:
        return self.plain.decode(tokens.to(self.device)).cpu()


def _plain(model: LoadedModel) -> CodecNetwork:
    network = build_network(model)
    fold_weight_norm(network)
    for module in network.modules():
        if isinstance(module, AliasFreeSnakeBeta):
            module.fused = False
    return network.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
