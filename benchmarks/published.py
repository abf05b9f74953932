"""CPU speed of the paper's presets, compared with the published modules with equal weights.

    python -m benchmarks.published CHECKOUT [--preset bigcodec-base] [--seconds 12] [--threads 2]

CHECKOUT is a clone of https://github.com/Aria-K-Alethia/BigCodec, of which the modules in vq/ are
imported; they need einops. Weights are random, from the published initialization. Both run in
turn in one process, the published modules in eager float32 as in the published script.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import checks, rates
from benchmarks.report import best_of, load_before, machine, table, write_section
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.checkpoints.published import adapt
from bigcodec_models.codec import Codec
from bigcodec_models.config import SAMPLE_RATE, BigCodecConfig

WIDTHS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bigcodec": ({}, {}),
    "bigcodec-base": (
        {"ngf": 32, "up_ratios": (2, 4, 5, 5), "out_channels": 128},
        {
            "in_channels": 128,
            "vq_dim": 128,
            "upsample_initial_channel": 512,
            "up_ratios": (5, 5, 4, 2),
        },
    ),
}
# Of one second of audio (BIGCODEC.md): 1e9 operations of encoder and decoder.
OPERATIONS = {"bigcodec": (51.0, 52.0), "bigcodec-base": (7.0, 7.0)}


def main() -> None:
    """Run the benchmark of one preset and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--preset", choices=list(WIDTHS), default="bigcodec")
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    load = load_before()
    torch.set_num_threads(options.threads)
    pair = Pair(options.checkout, options.preset)
    floor_rates = rates.measure(pair.config.decoder_channels[0])
    wave = checks.noise(options.seconds * SAMPLE_RATE)
    with torch.no_grad():
        text = _report(pair, wave, floor_rates, options)
    write_section(f"CPU, {options.preset} beside the published code", f"{machine(load)}\n\n{text}")


class Pair:
    """The published modules and codecs of this package, with one set of weights."""

    def __init__(self, checkout: Path, preset: str) -> None:
        self.preset = preset
        encoder, decoder = WIDTHS[preset]
        sys.path.insert(0, str(checkout))
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old form of weight norm
            self.encoder = importlib.import_module("vq.codec_encoder").CodecEncoder(**encoder)
            self.decoder = importlib.import_module("vq.codec_decoder").CodecDecoder(**decoder)
        self.encoder.eval()
        self.decoder.eval()
        weights = {f"CodecEnc.{name}": value for name, value in self.encoder.state_dict().items()}
        weights |= {f"generator.{name}": value for name, value in self.decoder.state_dict().items()}
        tensors, config = adapt(weights)
        self.config: BigCodecConfig = config
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        model = LoadedModel(config=config, info=ModelInfo(name=preset, license=""), tensors=tensors)
        self.codec, self.bfloat16 = Codec(model), Codec(model, precision="bfloat16")


def _report(
    pair: Pair,
    wave: npt.NDArray[np.float32],
    peak: rates.Rates,
    options: argparse.Namespace,
) -> str:
    samples = torch.from_numpy(wave).view(1, 1, -1)
    latent = pair.encoder(samples)
    quantized, codes, _ = pair.decoder(latent, vq=True)
    tokens = pair.codec.encode(wave)
    published = pair.decoder(quantized, vq=False)[0, 0].numpy()
    seconds = best_of(
        options.rounds,
        {
            "published encoder": lambda: pair.decoder(pair.encoder(samples), vq=True),
            "encoder": lambda: pair.codec.encode(wave),
            "published decoder": lambda: pair.decoder(quantized, vq=False),
            "decoder": lambda: pair.codec.decode(tokens),
            "decoder, bfloat16": lambda: pair.bfloat16.decode(tokens),
        },
    )
    per_second = {name: value / options.seconds for name, value in seconds.items()}
    target = codes.view(-1).numpy()
    tokens_text = checks.differences(pair.codec, latent[0], target, tokens)
    bfloat16, float32 = pair.bfloat16.decode(target), pair.codec.decode(target)
    return "\n\n".join(
        [
            f"{options.seconds} s of noise, {options.threads} threads, random weights, best of "
            f"{options.rounds} rounds in turn. Seconds of computing for a second of audio:",
            _speed_table(pair, per_second, peak),
            _floor_text(pair, peak),
            f"Against the published tokens {tokens_text}. Samples of the float32 decoder are "
            f"within {np.abs(float32 - published).max():.1e} of the published ones (largest "
            f"{np.abs(published).max():.2f}); with bfloat16 the SNR against them is "
            f"{checks.snr(published, bfloat16):.1f} dB.",
        ]
    )


def _speed_table(pair: Pair, seconds: dict[str, float], peak: rates.Rates) -> str:
    floors = _floors(pair, peak)
    published = seconds["published encoder"] + seconds["published decoder"]
    package = seconds["encoder"] + seconds["decoder"]
    rows = []
    for name, before, after, floor in (
        ("encode", seconds["published encoder"], seconds["encoder"], floors[0]),
        ("decode", seconds["published decoder"], seconds["decoder"], floors[1]),
        ("both", published, package, sum(floors)),
    ):
        rows.append([name, f"{before:.3f}", f"{after:.3f}", f"{before / after:.2f}",
                     f"{floor:.3f}", f"{after / floor:.2f}"])  # fmt: skip
    before, after = seconds["published decoder"], seconds["decoder, bfloat16"]
    rows.append(
        ["decode, bfloat16", f"{before:.3f}", f"{after:.3f}", f"{before / after:.2f}", "", ""]
    )
    return table(
        ["", "published", "bigcodec-cli", "times faster", "floor", "bigcodec-cli / floor"], rows
    )


def _lstm_bytes(pair: Pair) -> tuple[float, float]:
    """Recurrent weights read for a second of audio, by encoder and decoder: 1e9 bytes."""
    frames = SAMPLE_RATE / pair.config.hop
    widths = (pair.config.encoder_channels[-1], pair.config.decoder_channels[0])
    first, second = (pair.config.lstm_layers * 16 * w * w * frames / 1e9 for w in widths)
    return first, second


def _floors(pair: Pair, peak: rates.Rates) -> tuple[float, float]:
    """Least seconds for a second of audio: products at full rate, LSTM weights once a frame."""
    first, second = (
        (operations - read / 2) / peak.float32 + read / peak.reading
        for operations, read in zip(OPERATIONS[pair.preset], _lstm_bytes(pair), strict=True)
    )
    return first, second


def _floor_text(pair: Pair, peak: rates.Rates) -> str:
    return (
        f"The floor is the model's products at the rate of this machine's best matrix product "
        f"({peak.float32:.0f} GFLOP/s in float32; {peak.bfloat16:.0f} in bfloat16) plus "
        f"reading the LSTMs' recurrent weights once a frame ({sum(_lstm_bytes(pair)):.1f} GB for a "
        f"second of audio at {peak.reading:.0f} GB/s); no overlap of chunks, no activations."
    )


if __name__ == "__main__":
    main()
