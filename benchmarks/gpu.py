"""Speed on a GPU, beside the plain modules of the same network in eager float32.

    python -m benchmarks.gpu [--device cuda] [--seconds 30]
    python -m benchmarks.gpu --rehearse      # toy models on the CPU, nothing written

Lite is the built-in model, the paper's presets have random weights. "plain" is the same network
with torch's LSTM, unfused activations and no chunks, given the same batch. Every result is
compared with that of float32 on the CPU. Without a GPU the section says 'not measured'.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.checks import Tokens, Wave, differences, noise, random_model, snr
from benchmarks.report import best_of, load_before, machine, table, write_section
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, build_network
from bigcodec_models.codec import Codec, read_model
from bigcodec_models.config import PRESETS, SAMPLE_RATE
from bigcodec_models.layers.activation import AliasFreeSnakeBeta
from bigcodec_models.layers.weight_norm import fold_weight_norm

_MODELS = ("lite", "bigcodec-base", "bigcodec")
_TOYS = ("toy-lite", "toy")
_BATCHES = (1, 16)
_ROUNDS = 3
_HEAD = (
    "model",
    "batch",
    "encode: plain",
    "ours",
    "decode: plain",
    "ours",
    "ours, bfloat16",
    "agreement with float32 on the CPU",
)


def main() -> None:
    """Measure and write the section, or rehearse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=_found_device())
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
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


def _found_device() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _rows(device: str, names: tuple[str, ...], seconds: int) -> Iterator[list[str]]:
    for name in names:
        model = read_model("lite") if name == "lite" else random_model(PRESETS[name])
        bench = Bench(model, device)
        for batch in _BATCHES:
            waves = [noise(seconds * SAMPLE_RATE, seed) for seed in range(batch)]
            yield [name, str(batch), *bench.measure(waves)]


@dataclasses.dataclass
class Bench:
    """One model on a device: ours, ours in bfloat16, the plain modules; and float32 on the CPU."""

    model: LoadedModel
    device: str

    def __post_init__(self) -> None:
        self.exact = Codec(self.model)
        self.ours = Codec(self.model, self.device)
        self.half = Codec(self.model, self.device, precision="bfloat16")
        self.plain = _plain(self.model).to(self.device)

    def measure(self, waves: list[Wave]) -> list[str]:
        """A row: times real time of the five pieces of work, and how well results agree."""
        audio = sum(len(wave) for wave in waves) / SAMPLE_RATE
        expected = self.exact.encode_batch(waves[:1])[0]
        tokens = self.ours.encode_batch(waves, len(waves))
        samples = torch.stack([torch.from_numpy(wave) for wave in waves]).unsqueeze(1)
        table = torch.stack([torch.from_numpy(found) for found in tokens]).unsqueeze(2)
        work: dict[str, Callable[[], object]] = {
            "plain encode": lambda: self._plain_encode(samples),
            "our encode": lambda: self.ours.encode_batch(waves, len(waves)),
            "plain decode": lambda: self._plain_decode(table),
            "our decode": lambda: self.ours.decode_batch(tokens, len(waves)),
            "half decode": lambda: self.half.decode_batch(tokens, len(waves)),
        }
        best_of(1, work)  # compiles, and lets libraries choose their kernels
        seconds = best_of(_ROUNDS, work)
        return [*(f"{audio / value:.1f}" for value in seconds.values()),
                self._agreement(waves[0], expected, tokens)]  # fmt: skip

    def _agreement(self, wave: Wave, expected: Tokens, tokens: list[Tokens]) -> str:
        latent = torch.from_numpy(self.exact.latents(wave))
        wanted = self.exact.decode(expected)
        # In the middle of a full batch, as the other files of it are.
        batch = [expected] * len(tokens)
        found = self.ours.decode_batch(batch, len(batch))[-1]
        half = self.half.decode_batch(batch, len(batch))[-1]
        return (
            f"{differences(self.exact, latent, expected, tokens[0])}; samples within "
            f"{abs(found - wanted).max():.1e}; bfloat16 SNR {snr(wanted, half):.0f} dB"
        )

    @torch.inference_mode()
    def _plain_encode(self, samples: Tensor) -> Tensor:
        latent = self.plain.encoder(samples.to(self.device))
        return self.plain.quantizer.encode(latent).cpu()

    @torch.inference_mode()
    def _plain_decode(self, tokens: Tensor) -> Tensor:
        latent = self.plain.quantizer.decode(tokens.to(self.device))
        wave: Tensor = self.plain.decoder(latent)
        return wave.cpu()


def _plain(model: LoadedModel) -> CodecNetwork:
    network = build_network(model)
    fold_weight_norm(network)
    for module in network.modules():
        if isinstance(module, AliasFreeSnakeBeta):
            module.fused = False
    return network.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
